package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.checkpoints.pretrained.PretrainedModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.JsonNode;

/**
 * What is told of an adapter that fits in parts, beside what the reference tells of it
 * (src/test/python/loading_report.py).
 */
class LoadingReportTest {

  private static final Path FOLDER =
      Path.of("src", "test", "resources", "espalier", "checkpoints", "report");

  private static PretrainedModel model() {
    return PretrainedModel.load(Path.of("..", "parity", "models", "llama"), ScalarType.Float);
  }

  private static List<String> expected(String kind) throws IOException {
    return StrictJson.MAPPER
        .readTree(Files.readAllBytes(FOLDER.resolve("report.json")))
        .path(kind)
        .valueStream()
        .map(JsonNode::stringValue)
        .toList();
  }

  @Test
  void the_same_keys_are_missing_and_unexpected_as_in_the_reference() throws IOException {
    try (PretrainedModel model = model()) {
      LoadResult result =
          model.loadAdapter("one", FOLDER, LoadOptions.defaults().withIgnoreMismatched(true));

      // the reference counts what it passes over as missing
      var absent = new ArrayList<>(result.missing());
      absent.addAll(result.mismatched());
      assertThat(absent).containsExactlyInAnyOrderElementsOf(expected("missing"));
      assertThat(result.unexpected()).isEqualTo(expected("unexpected"));
      assertThat(result.mismatched())
          .containsExactly("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight");
    }
  }

  @Test
  void without_leave_to_pass_over_shapes_nothing_is_loaded() {
    try (PretrainedModel model = model()) {
      assertThatThrownBy(() -> model.loadAdapter("one", FOLDER))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("lora_A.weight is [2, 33] in the file but [2, 32] here");
      assertThat(model.adapters().names()).isEmpty();
    }
  }
}
