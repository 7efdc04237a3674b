package espalier.checkpoints.pretrained;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.linalg_svdvals;

import espalier.adapters.Targets;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.Loftq;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraLinear;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.OriginalWeights;
import espalier.checkpoints.SafetensorsFile;
import espalier.checkpoints.SafetensorsWriter;
import espalier.models.ModelInputs;
import espalier.nn.Adapter;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.json.JsonMapper;

/** LoftQ over a base in NF4, fitted to the weights of the folder that it was loaded from. */
class LoftqOriginalsTest {

  private static final Path LLAMA = Path.of("../parity/models/llama");
  private static final int R = 3;

  @TempDir Path folder;

  private static PretrainedModel quantised(Path path) {
    var model =
        PretrainedModel.load(
            path, ScalarType.Float, Quantisation.NF4, "tiny", AdapterCatalog.standard());
    model.attach(
        "default",
        LoraConfig.builder().r(R).alpha(R).targets(Targets.named("q_proj", "down_proj")).build(),
        1);
    return model;
  }

  /** The tiny model in two files and an index. */
  private Path sharded() throws IOException {
    Files.copy(LLAMA.resolve("config.json"), folder.resolve("config.json"));
    var index = new LinkedHashMap<String, String>();
    try (var file = SafetensorsFile.open(LLAMA.resolve("model.safetensors"));
        var _ = Scope.open()) {
      List<Map<String, Tensor>> shards = List.of(new LinkedHashMap<>(), new LinkedHashMap<>());
      for (String key : file.entries().keySet()) {
        int shard = key.contains("layers.1.") ? 1 : 0;
        shards.get(shard).put(key, file.tensor(key));
        index.put(key, "part-%d.safetensors".formatted(shard));
      }
      for (int i = 0; i < 2; i++) {
        SafetensorsWriter.write(folder.resolve("part-%d.safetensors".formatted(i)), shards.get(i));
      }
    }
    Files.writeString(
        folder.resolve("model.safetensors.index.json"),
        JsonMapper.shared().writeValueAsString(Map.of("metadata", Map.of(), "weight_map", index)));
    return folder;
  }

  private static LoraLinear lora(PretrainedModel model, String path) {
    return (LoraLinear) Objects.requireNonNull(model.adapters().on("default").get(path));
  }

  private static Tensor wide(Tensor tensor) {
    return tensor.to(ScalarType.Double);
  }

  @Test
  void with_two_shards_each_layer_loses_what_no_fit_of_that_rank_can_give_back()
      throws IOException {
    try (var model = quantised(sharded());
        var originals = model.originalWeights();
        var _ = Scope.open();
        var _ = new NoGradGuard()) {

      var replaced = Loftq.replaceWeights(model.adapters(), "default", originals, _ -> true);

      assertThat(replaced.accepted()).hasSize(4);
      for (String path : replaced.accepted()) {
        Tensor original = wide(originals.apply(path));
        Tensor lost = original.sub(wide(lora(model, path).layer().weight()));
        Tensor left = lost.sub(wide(lora(model, path).deltaWeight()));
        // Eckart and Young: what the best fit leaves are the singular values behind the first r
        Tensor behind = linalg_svdvals(lost);
        double best = behind.narrow(0, R, behind.size(0) - R).norm().item_double();
        assertThat(left.norm().item_double()).isBetween(best * (1 - 1e-5), best * (1 + 1e-5));
      }
    }
  }

  @Test
  void a_check_of_the_logits_takes_back_what_does_not_help_bit_for_bit() {
    try (var plain = PretrainedModel.load(LLAMA, ScalarType.Float);
        var model = quantised(LLAMA);
        var originals = model.originalWeights();
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Tensor want = logits(plain);
      double[] error = {logits(model).sub(want).square().mean().item_double()};
      double first = error[0];
      var before = new LinkedHashMap<String, Map<String, Tensor>>();
      model.adapters().on("default").forEach((path, adapter) -> before.put(path, copies(adapter)));
      var asked = new ArrayList<String>();

      var replaced =
          Loftq.replaceWeights(
              model.adapters(),
              "default",
              originals,
              path -> {
                asked.add(path);
                double now = logits(model).sub(want).square().mean().item_double();
                boolean better = now < error[0] && asked.size() != 2; // one is turned down anyway
                error[0] = better ? now : error[0];
                return better;
              });

      assertThat(asked).containsExactlyElementsOf(model.adapters().on("default").keySet());
      assertThat(replaced.rejected()).contains(asked.get(1));
      assertThat(replaced.accepted()).isNotEmpty();
      for (String path : replaced.rejected()) {
        Objects.requireNonNull(before.get(path))
            .forEach(
                (name, tensor) ->
                    assertThat(tensor.equal(lora(model, path).parameters().get(name))).isTrue());
      }
      double last = logits(model).sub(want).square().mean().item_double();
      assertThat(last).isEqualTo(error[0]).isLessThan(first);
    }
  }

  private static Map<String, Tensor> copies(Adapter adapter) {
    var copies = new LinkedHashMap<String, Tensor>();
    adapter.parameters().forEach((name, tensor) -> copies.put(name, tensor.clone()));
    return copies;
  }

  private static Tensor logits(PretrainedModel model) {
    return model.model().logits(ModelInputs.of(Tensor.create(new long[] {5, 9, 2, 7, 4}, 1, 5)));
  }

  @Test
  void a_file_without_the_models_prefix_is_read_as_one_with_it() throws IOException {
    Path bare = folder.resolve("bare.safetensors");
    try (var file = SafetensorsFile.open(LLAMA.resolve("model.safetensors"));
        var _ = Scope.open()) {
      var tensors = new LinkedHashMap<String, Tensor>();
      file.entries()
          .keySet()
          .forEach(key -> tensors.put(key.replaceFirst("^model\\.", ""), file.tensor(key)));
      SafetensorsWriter.write(bare, tensors);
    }
    try (var model = quantised(LLAMA);
        var originals = OriginalWeights.open(bare)) {

      var replaced = Loftq.replaceWeights(model.adapters(), "default", originals, _ -> true);

      assertThat(replaced.accepted()).hasSize(4);
    }
  }

  @Test
  void a_folder_that_is_gone_is_named() throws IOException {
    try (var model = quantised(sharded())) {
      Files.delete(folder.resolve("model.safetensors.index.json"));

      assertThatThrownBy(model::originalWeights)
          .isInstanceOf(CheckpointException.class)
          .hasMessageContaining(folder.toString());
    }
  }
}
