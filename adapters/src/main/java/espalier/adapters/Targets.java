package espalier.adapters;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * Which layers get an adapter, and which are trained whole beside it. Every config has one.
 *
 * <pre>{@code
 * Targets.named("q_proj", "v_proj").onLayers(0, 1)
 * Targets.allLinear().except("gate")
 * }</pre>
 *
 * @param modules the layers that get an adapter
 * @param exclude layers that do not, even if named by {@code modules}; named or matching, or null
 * @param layers indices of the blocks to which {@code modules} is limited, or null for all
 * @param layersPattern what the list of blocks is called in a path, or null to take the first
 *     number
 * @param parameters stacked parameters of experts that get an adapter, by name, or null
 * @param saved layers that are trained and saved whole, or null
 * @param fanInFanOut whether some target stores its weight as [in, out]; found out when attaching
 */
public record Targets(
    Modules modules,
    @Nullable Modules exclude,
    @Nullable OneOrMany<Integer> layers,
    @Nullable OneOrMany<String> layersPattern,
    @Nullable List<String> parameters,
    @Nullable List<String> saved,
    boolean fanInFanOut) {

  /** Checks what can be checked without a model. */
  public Targets {
    parameters = parameters == null ? null : List.copyOf(parameters);
    saved = saved == null ? null : List.copyOf(saved);
    boolean list = modules instanceof Modules.Named || modules instanceof Modules.ByArchitecture;
    new Violations()
        .unless(
            list || layers == null,
            "layers_to_transform needs target_modules as a list of names, not %s; put the layers"
                + " into the regular expression, or name the modules",
            show(modules))
        .unless(
            list || layersPattern == null,
            "layers_pattern needs target_modules as a list of names, not %s; name the modules",
            show(modules))
        .unless(
            exclude == null
                || exclude instanceof Modules.Named
                || exclude instanceof Modules.Matching,
            "exclude_modules is %s but it is a list of names or a regular expression",
            show(exclude))
        .unless(
            !(modules instanceof Modules.Named named && named.names().contains("")),
            "target_modules has an empty name; leave it out")
        .raise();
  }

  private static Targets of(Modules modules) {
    return new Targets(modules, null, null, null, null, null, false);
  }

  /** Layers whose path is, or ends with a dot and, one of these names; none for no layer. */
  public static Targets named(String... names) {
    return of(new Modules.Named(List.of(names)));
  }

  /** Layers whose whole path a regular expression matches. */
  public static Targets matching(String regex) {
    return of(new Modules.Matching(regex));
  }

  /** Every linear layer but the output head. */
  public static Targets allLinear() {
    return of(new Modules.AllLinear());
  }

  /** What is usual for the model's architecture. */
  public static Targets byArchitecture() {
    return of(new Modules.ByArchitecture());
  }

  /** These targets with another choice of layers. */
  public Targets withModules(Modules other) {
    return new Targets(other, exclude, layers, layersPattern, parameters, saved, fanInFanOut);
  }

  /** These targets without the layers of these names. */
  public Targets except(String... names) {
    return withExclude(new Modules.Named(List.of(names)));
  }

  /** These targets with another exclusion. */
  public Targets withExclude(@Nullable Modules other) {
    return new Targets(modules, other, layers, layersPattern, parameters, saved, fanInFanOut);
  }

  /** These targets in the blocks of these indices only. */
  public Targets onLayers(Integer... indices) {
    return withLayers(OneOrMany.many(List.of(indices)), layersPattern);
  }

  /** These targets in some blocks only. */
  public Targets withLayers(
      @Nullable OneOrMany<Integer> indices, @Nullable OneOrMany<String> pattern) {
    return new Targets(modules, exclude, indices, pattern, parameters, saved, fanInFanOut);
  }

  /** These targets and stacked parameters of experts. */
  public Targets withParameters(@Nullable List<String> names) {
    return new Targets(modules, exclude, layers, layersPattern, names, saved, fanInFanOut);
  }

  /** These targets, with layers of these names trained and saved whole. */
  public Targets saving(String... names) {
    return withSaved(List.of(names));
  }

  /** These targets with other layers trained and saved whole. */
  public Targets withSaved(@Nullable List<String> names) {
    return new Targets(modules, exclude, layers, layersPattern, parameters, names, fanInFanOut);
  }

  /** These targets, with or without one that stores its weight as [in, out]. */
  public Targets withFanInFanOut(boolean transposed) {
    return new Targets(modules, exclude, layers, layersPattern, parameters, saved, transposed);
  }

  /** How a choice of modules is told to the user, as the file would have it. */
  static String show(@Nullable Modules modules) {
    return switch (modules) {
      case null -> "null";
      case Modules.Named(var names) -> names.toString();
      case Modules.Matching(var regex) -> '"' + regex + '"';
      case Modules.AllLinear() -> "all-linear";
      case Modules.ByArchitecture() -> "null";
    };
  }
}
