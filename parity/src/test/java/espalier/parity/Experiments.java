package espalier.parity;

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** The kinds of cases that can be carried out. */
final class Experiments {

  private static final Map<String, Experiment> BY_KIND =
      Map.of(
          "combine", new CombineCase(),
          "config", new ConfigCase(),
          "convert", new ConvertCase(),
          "error", new ErrorCase(),
          "init", new InitCase(),
          "layer", new LayerCase(),
          "mixed", new MixedCase(),
          "model", new ModelCase(),
          "model/arrow", new ArrowCase(),
          "train", new TrainCase());

  /** Kinds whose experiment looks at its variants itself. */
  private static final Set<String> OF_ALL_VARIANTS = Set.of("config", "convert", "init");

  private Experiments() {}

  static Experiment of(String kind) {
    String own = kind.replaceFirst("/.*", "");
    Experiment experiment = BY_KIND.get(OF_ALL_VARIANTS.contains(own) ? own : kind);
    if (experiment == null) {
      throw new AssertionError(
          "the kind is %s but only %s are known".formatted(kind, new TreeSet<>(BY_KIND.keySet())));
    }
    return experiment;
  }
}
