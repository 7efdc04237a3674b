package espalier.examples;

import espalier.adapters.combine.Combination;
import espalier.adapters.combine.CombinationType;
import espalier.adapters.combine.Combining;
import espalier.checkpoints.pretrained.PretrainedModel;
import java.nio.file.Path;
import java.util.List;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Two LoRA adapters made into one that does something of both. */
public final class Combine {

  private Combine() {}

  /** {@code Combine MODEL-FOLDER FIRST SECOND OUT-FOLDER}. */
  public static void main(String... arguments) {
    try (var model = PretrainedModel.load(Path.of(arguments[0]), ScalarType.Float)) {
      model.loadAdapter("first", Path.of(arguments[1]));
      model.loadAdapter("second", Path.of(arguments[2]));
      var how = Combination.of(CombinationType.TIES, 0.5);
      var names = List.of("first", "second");
      var report = Combining.add(model.adapters(), names, List.of(0.7, 0.3), "both", how);
      IO.println("largest distance from the exact sum: %.3f".formatted(report.largestError()));
      model.saveAdapter("both", Path.of(arguments[3]));
    }
  }
}
