package espalier.examples;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.serving.Generator;
import espalier.serving.Sampling;
import java.nio.file.Path;
import java.util.List;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Adapters that are merged into the weights, one at a time, so that answers cost no more. */
public final class SwitchAdapters {

  private SwitchAdapters() {}

  /** {@code SwitchAdapters MODEL-FOLDER PROMPT FIRST SECOND}. */
  public static void main(String... arguments) {
    try (var model = PretrainedModel.load(Path.of(arguments[0]), ScalarType.Float)) {
      model.loadAdapter("first", Path.of(arguments[2]));
      model.loadAdapter("second", Path.of(arguments[3]));
      var generator = Generator.of(model);
      var sampling = Sampling.greedy().withMaxNewTokens(20);
      for (String name : List.of("first", "second")) {
        model.adapters().switchTo(List.of(name), true);
        IO.println(generator.generate(generator.prompt(arguments[1]), sampling).text());
      }
      model.adapters().unmerge(); // the weights are as they were, bit for bit
    }
  }
}
