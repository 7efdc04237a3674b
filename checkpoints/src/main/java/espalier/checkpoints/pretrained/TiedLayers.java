package espalier.checkpoints.pretrained;

import espalier.models.Model;
import java.util.List;

/** The layers of a model that share one weight. */
final class TiedLayers {

  private static final String WEIGHT = ".weight";

  private TiedLayers() {}

  /** Groups of paths; the first of each is the source of what the others share. */
  static List<List<String>> of(Model model) {
    return model.tiedWeights().stream()
        .map(
            group ->
                group.stream()
                    .map(TiedLayers::layerOf)
                    // the token embedding is the source of what it shares
                    .sorted((a, b) -> Boolean.compare(isHead(a, model), isHead(b, model)))
                    .toList())
        .toList();
  }

  private static boolean isHead(String path, Model model) {
    return model.outputHead().filter(path::equals).isPresent();
  }

  private static String layerOf(String parameter) {
    return parameter.endsWith(WEIGHT)
        ? parameter.substring(0, parameter.length() - WEIGHT.length())
        : parameter;
  }
}
