package espalier.checkpoints.pretrained;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.models.BlockKind;
import espalier.models.ModelInputs;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.json.JsonMapper;

class BlockFieldsTest {

  @TempDir private Path folder;

  /** A model of the parity cases whose config tells the kind of a block by its place alone. */
  private Path byPlace(String name, Map<String, Object> fields) throws IOException {
    Path from = Path.of("..", "parity", "models", name);
    Path to = Files.createDirectory(folder.resolve("from"));
    Map<String, Object> config = ModelParts.JsonObjects.read(from.resolve("config.json"));
    config.remove("layer_types");
    config.putAll(fields);
    Files.writeString(to.resolve("config.json"), JsonMapper.shared().writeValueAsString(config));
    Files.copy(from.resolve("model.safetensors"), to.resolve("model.safetensors"));
    return to;
  }

  private static Tensor logits(PretrainedModel model) {
    long[] ids = {5, 9, 7, 11, 6, 8, 21, 3, 17, 40, 2, 33};
    return model.model().logits(ModelInputs.of(Tensor.create(ids, 1, 12)));
  }

  @ParameterizedTest
  @CsvSource({"gemma3_text, _sliding_window_pattern, 2", "qwen3, max_window_layers, 1"})
  void blocks_whose_kind_follows_from_their_place_keep_it_when_they_are_repeated(
      String name, String field, int value) throws IOException {
    Path from =
        byPlace(name, Map.of(field, value, "use_sliding_window", true, "sliding_window", 3));
    try (PretrainedModel model = PretrainedModel.load(from, ScalarType.Float);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      model.model().repeatBlocks(0, 0, 1, 0);
      Tensor before = logits(model);

      model.save(folder.resolve("to"), null);

      try (PretrainedModel again = PretrainedModel.load(folder.resolve("to"), ScalarType.Float)) {
        assertThat(logits(again).equal(before)).isTrue();
      }
    }
  }

  @Test
  void blocks_without_experts_are_counted_anew() {
    var config =
        new LinkedHashMap<String, Object>(
            Map.of(
                "model_type", "qwen3_moe", "num_hidden_layers", 2, "mlp_only_layers", List.of(0)));
    var plain = new BlockKind(0, false);
    var experts = new BlockKind(4, true);

    BlockFields.rewrite(config, List.of(0, 1, 1, 0), List.of(plain, experts, experts, plain));

    assertThat(config)
        .containsEntry("num_hidden_layers", 4)
        .containsEntry("mlp_only_layers", List.of(0, 3))
        .containsEntry("decoder_sparse_step", 1)
        .containsEntry(
            "layer_types",
            List.of("full_attention", "sliding_attention", "sliding_attention", "full_attention"));
  }

  @Test
  void a_list_of_blocks_as_the_file_has_it_leaves_the_config_as_it_was() {
    var config =
        new LinkedHashMap<String, Object>(Map.of("model_type", "qwen3", "num_hidden_layers", 2));
    var plain = new BlockKind(0, false);

    BlockFields.rewrite(config, List.of(0, 1), List.of(plain, plain));

    assertThat(config).containsOnlyKeys("model_type", "num_hidden_layers");
  }
}
