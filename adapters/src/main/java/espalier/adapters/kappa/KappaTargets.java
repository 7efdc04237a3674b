package espalier.adapters.kappa;

import espalier.adapters.Modules;
import espalier.adapters.Targets;
import java.util.List;

/**
 * The layers that were chosen, by their full paths, smallest condition number first.
 *
 * @param modules linear layers, for {@code target_modules}
 * @param parameters stacked expert weights, for {@code target_parameters}; empty if there are none
 */
public record KappaTargets(List<String> modules, List<String> parameters) {

  /** Copies the lists. */
  public KappaTargets {
    modules = List.copyOf(modules);
    parameters = List.copyOf(parameters);
  }

  /** The same as targets of a config. */
  public Targets targets() {
    return Targets.named()
        .withModules(new Modules.Named(modules))
        .withParameters(parameters.isEmpty() ? null : parameters);
  }
}
