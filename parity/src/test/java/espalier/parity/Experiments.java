package espalier.parity;

import java.util.Map;
import java.util.TreeSet;

/** The kinds of cases that can be carried out. */
final class Experiments {

  private static final Map<String, Experiment> BY_KIND =
      Map.of(
          "config", new ConfigCase(),
          "convert", new ConvertCase(),
          "error", new ErrorCase(),
          "init", new InitCase(),
          "layer", new LayerCase(),
          "mixed", new MixedCase(),
          "model", new ModelCase(),
          "train", new TrainCase());

  private Experiments() {}

  static Experiment of(String kind) {
    Experiment experiment =
        BY_KIND.get(
            kind.startsWith("convert/") ? "convert" : kind); // it looks at its variants itself
    if (experiment == null) {
      throw new AssertionError(
          "the kind is %s but only %s are known".formatted(kind, new TreeSet<>(BY_KIND.keySet())));
    }
    return experiment;
  }
}
