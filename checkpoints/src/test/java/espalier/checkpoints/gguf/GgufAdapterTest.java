package espalier.checkpoints.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.BiasTraining;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraConfigBuilder;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class GgufAdapterTest {

  private static final String Q = "model.layers.0.self_attn.q_proj";

  private static final long TOKENS = 14;

  @TempDir Path folder;

  private final Scope scope = Scope.open();
  private final NoGradGuard noGradients = new NoGradGuard();

  @AfterEach
  void close() {
    noGradients.close();
    scope.close();
  }

  private static LoraConfigBuilder lora() {
    return LoraConfig.builder()
        .r(2)
        .alpha(6)
        .init(new LoraInit.Unset())
        .targets(Targets.allLinear());
  }

  private PretrainedModel model(TinyGguf file) {
    file.withTokenizerOf(TinyTokenizers.byteLevel("gpt-2"))
        .counting("token_embd.weight", TOKENS, 4);
    return PretrainedModel.load(file.write(folder), ScalarType.Float);
  }

  private static TinyGguf untied(TinyGguf file) {
    return file.counting("output.weight", TOKENS, 4);
  }

  private GgufFile written(PretrainedModel model, ScalarType dtype) {
    Path file = folder.resolve("adapter.gguf");
    GgufAdapter.write(file, model.model(), model.adapters(), "default", dtype);
    return GgufFile.open(file);
  }

  /** What llama.cpp adds to a weight of its own: alpha / r · B·A, or of tokens the transpose. */
  private static Tensor added(GgufFile adapter, String weight) {
    Tensor a = adapter.tensor(weight + ".lora_a", ScalarType.Float);
    Tensor b = adapter.tensor(weight + ".lora_b", ScalarType.Float);
    double alpha = adapter.metadata().number("adapter.lora.alpha");
    var scale = new Scalar(alpha / b.size(1));
    return weight.startsWith("token_embd") ? a.matmul(b.t()).mul(scale) : b.matmul(a).mul(scale);
  }

  /** A file of the model whose one weight is what the adapter adds to it. */
  private Tensor readBack(TinyGguf file, GgufFile adapter, String weight, String huggingFace)
      throws IOException {
    Tensor added = added(adapter, weight).contiguous();
    var numbers = new float[(int) added.numel()];
    added.data_ptr_float().get(numbers);
    Path changed =
        file.floats(weight, numbers, added.shape()).write(Files.createTempDirectory(folder, "x"));
    try (GgufFile open = GgufFile.open(changed)) {
      return GgufModel.of(open).tensor(huggingFace, ScalarType.Float);
    }
  }

  static List<Arguments> models() {
    String layer = "model.layers.0.";
    var llama =
        Map.of(
            "blk.0.attn_q.weight", Q,
            "blk.0.attn_k.weight", layer + "self_attn.k_proj",
            "blk.0.attn_v.weight", layer + "self_attn.v_proj",
            "blk.0.attn_output.weight", layer + "self_attn.o_proj",
            "blk.0.ffn_gate.weight", layer + "mlp.gate_proj",
            "blk.0.ffn_down.weight", layer + "mlp.down_proj");
    String block = "transformer.h.0.";
    var gpt2 =
        Map.of(
            "blk.0.attn_qkv.weight", block + "attn.c_attn",
            "blk.0.attn_output.weight", block + "attn.c_proj",
            "blk.0.ffn_up.weight", block + "mlp.c_fc",
            "blk.0.ffn_down.weight", block + "mlp.c_proj");
    return List.of(
        Arguments.of("llama", TinyModels.llama(), llama),
        Arguments.of("qwen2", TinyModels.qwen2(), llama),
        Arguments.of("qwen3", TinyModels.qwen3(), llama),
        Arguments.of("gemma3", TinyModels.gemma3(), llama),
        Arguments.of("gpt2", TinyModels.gpt2(), gpt2));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("models")
  void what_llama_cpp_adds_to_its_weights_is_the_update(
      String architecture, TinyGguf file, Map<String, String> layers) throws IOException {
    try (PretrainedModel model = model(untied(file))) {
      model.attach("default", lora().build(), 5);

      try (GgufFile adapter = written(model, ScalarType.Float)) {
        assertThat(adapter.metadata().values())
            .containsEntry("general.architecture", architecture)
            .containsEntry("general.type", "adapter")
            .containsEntry("adapter.type", "lora")
            .containsEntry("adapter.lora.alpha", 6f);
        for (var layer : layers.entrySet()) {
          Tensor want = update(model.adapters(), layer.getValue());
          Tensor stored = readBack(file, adapter, layer.getKey(), layer.getValue() + ".weight");
          Tensor got = architecture.equals("gpt2") ? stored.t() : stored;
          assertThat(got.allclose(want, 1e-5, 1e-6, false)).as(layer.getKey()).isTrue();
        }
      }
    }
  }

  private static Tensor update(Adapters adapters, String path) {
    return Objects.requireNonNull(adapters.on("default").get(path), path).deltaWeight();
  }

  @Test
  void the_rows_of_queries_are_in_another_order_than_here() {
    try (PretrainedModel model = model(TinyModels.llama())) {
      model.attach("default", lora().build(), 5);

      try (GgufFile adapter = written(model, ScalarType.Float)) {
        Tensor got = added(adapter, "blk.0.attn_q.weight");
        Tensor update = update(model.adapters(), Q);

        // heads of four rows: the halves [0, 1] and [2, 3] become neighbours
        Tensor order = Tensor.create(0L, 2L, 1L, 3L, 4L, 6L, 5L, 7L);
        assertThat(got.allclose(update.index_select(0, order), 1e-5, 1e-6, false)).isTrue();
        assertThat(got.allclose(update, 1e-3, 1e-3, false)).isFalse();
      }
    }
  }

  @Test
  void an_embedding_has_its_tokens_as_rows() {
    try (PretrainedModel model = model(untied(TinyModels.llama()))) {
      model.attach("default", lora().targets(Targets.named("embed_tokens")).build(), 5);

      try (GgufFile adapter = written(model, ScalarType.Float)) {
        Tensor want = update(model.adapters(), "model.embed_tokens");
        assertThat(adapter.tensors()).hasSize(2);
        assertThat(adapter.tensor("token_embd.weight.lora_a", ScalarType.Float).shape())
            .containsExactly(TOKENS, 2);
        assertThat(added(adapter, "token_embd.weight").allclose(want, 1e-5, 1e-6, false)).isTrue();
      }
    }
  }

  static List<Arguments> scalings() {
    return List.of(
        Arguments.of("rsLoRA", lora().rslora(true).build()),
        Arguments.of(
            "patterns",
            lora().rankPattern(Map.of("k_proj", 3)).alphaPattern(Map.of("v_proj", 1.0)).build()),
        Arguments.of("alpha 0", lora().alpha(0).build()),
        Arguments.of("PiSSA", lora().init(new LoraInit.Pissa()).build()));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("scalings")
  void one_alpha_is_enough_for_every_scaling(String what, LoraConfig config) {
    try (PretrainedModel model = model(TinyModels.llama())) {
      Tensor before = weight(model).clone();
      model.attach("default", config, 5);
      Tensor computed = weight(model).add(update(model.adapters(), V));

      try (GgufFile adapter = written(model, ScalarType.Float)) {
        Tensor got = before.add(added(adapter, "blk.0.attn_v.weight"));
        assertThat(got.allclose(computed, 1e-5, 1e-5, false)).as(what).isTrue();
      }
    }
  }

  private static final String V = "model.layers.0.self_attn.v_proj";

  private static Tensor weight(PretrainedModel model) {
    return Objects.requireNonNull(Objects.requireNonNull(model.find(V)).parameters().get("weight"));
  }

  @Test
  void tokens_that_activate_an_adapter_are_in_the_header() {
    try (PretrainedModel model = model(TinyModels.llama())) {
      model.attach("default", lora().variant(new LoraVariant.Alora(List.of(2, 1))).build(), 5);

      try (GgufFile adapter = written(model, ScalarType.Float)) {
        assertThat(adapter.metadata().values())
            .containsEntry("adapter.alora.invocation_tokens", List.of(2L, 1L));
      }
    }
  }

  @Test
  void half_precision_is_rounded_once() {
    for (ScalarType dtype : List.of(ScalarType.Half, ScalarType.BFloat16)) {
      try (PretrainedModel model = model(TinyModels.llama())) {
        model.attach("default", lora().alpha(2).build(), 5);
        Tensor a =
            Objects.requireNonNull(model.adapters().on("default").get(V))
                .state()
                .get("lora_A.weight");

        try (GgufFile adapter = written(model, dtype)) {
          Tensor got = adapter.tensor("blk.0.attn_v.weight.lora_a", ScalarType.Float);
          assertThat(got.equal(Objects.requireNonNull(a).to(dtype).to(ScalarType.Float))).isTrue();
        }
      }
    }
  }

  static List<Arguments> refused() {
    return List.of(
        Arguments.of(lora().variant(new LoraVariant.Dora()).build(), "has use_dora"),
        Arguments.of(lora().loraBias(true).build(), "has lora_bias"),
        Arguments.of(lora().bias(BiasTraining.ALL).build(), "trains biases of the base"),
        Arguments.of(
            lora().targets(Targets.allLinear().saving("norm")).build(),
            "trains [model.norm] whole"),
        Arguments.of(
            lora().targets(Targets.named("embed_tokens")).build(),
            "is on model.embed_tokens, a weight that is tied"),
        Arguments.of(
            HiraConfig.defaults().withR(2).withTargets(Targets.allLinear()),
            "is HIRA and no LoRA"));
  }

  @ParameterizedTest(name = "{1}")
  @MethodSource("refused")
  void what_the_format_has_no_place_for_is_refused_and_nothing_is_written(
      AdapterConfig config, String why) {
    try (PretrainedModel model = model(TinyModels.llama())) {
      model.attach("default", config, 5);

      assertThatThrownBy(() -> written(model, ScalarType.Float))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessageStartingWith("default " + why);
      assertThat(folder.resolve("adapter.gguf")).doesNotExist();
    }
  }

  @Test
  void positions_of_gpt2_are_never_looked_up_with_an_adapter_there() {
    try (PretrainedModel model = model(TinyModels.gpt2())) {
      model.attach("default", lora().targets(Targets.named("wpe")).build(), 5);

      assertThatThrownBy(() -> written(model, ScalarType.Float))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessageContaining("transformer.wpe");
    }
  }

  @Test
  void tensors_stand_on_multiples_of_32_bytes() {
    try (PretrainedModel model = model(TinyModels.llama())) {
      model.attach("default", lora().targets(Targets.named("q_proj", "down_proj")).build(), 5);

      try (GgufFile adapter = written(model, ScalarType.Float)) {
        long[] offsets = adapter.tensors().stream().mapToLong(TensorInfo::offset).toArray();
        assertThat(Arrays.stream(offsets).allMatch(offset -> offset % 32 == 0)).isTrue();
        assertThat(adapter.tensors().stream().map(TensorInfo::name))
            .containsExactly(
                "blk.0.attn_q.weight.lora_a",
                "blk.0.attn_q.weight.lora_b",
                "blk.0.ffn_down.weight.lora_a",
                "blk.0.ffn_down.weight.lora_b");
      }
    }
  }
}
