package espalier.recipes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.ones_like;

import espalier.adapters.ConfigException;
import espalier.adapters.TargetException;
import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraVariant;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.training.LoraPair;
import espalier.training.Optimizer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The optimizers on adapters of a tiny model. */
class OptimizersTest {

  private static PretrainedModel with(String model, String config) {
    var loaded = PretrainedModel.load(Path.of("../parity/models/" + model), ScalarType.Float);
    var read = loaded.catalog().read(RecipeFile.tree(config));
    loaded.attach("default", read.config(), 1);
    return loaded;
  }

  private static Optimizer optimizer(
      OptimizerType type, PretrainedModel model, List<String> warnings) {
    return Optimizers.of(OptimizerSection.of(type), 1e-3, 0, model.adapters(), warnings::add);
  }

  @Test
  void each_layer_has_its_own_factor_whatever_patterns_and_rslora_make_of_it() {
    String config =
        """
        {peft_type: LORA, r: 4, lora_alpha: 8, use_rslora: true, use_dora: true,
         target_modules: [q_proj, v_proj], rank_pattern: {v_proj: 2}, alpha_pattern: {v_proj: 6}}
        """;
    try (PretrainedModel model = with("opt", config)) {
      Map<String, LoraPair> pairs = LoraPairs.of(model.adapters());

      assertThat(pairs).hasSize(4);
      pairs.forEach(
          (key, pair) -> {
            boolean v = key.contains("v_proj");
            assertThat(key).endsWith(".lora_B.weight");
            assertThat(pair.a().size(0)).isEqualTo(v ? 2 : 4);
            assertThat(pair.scaling()).isEqualTo(v ? 6 / Math.sqrt(2) : 8 / Math.sqrt(4));
            assertThat(pair.blocks()).isOne();
          });
    }
  }

  @Test
  void experts_and_block_diagonal_factors_are_pairs_of_blocks() {
    String experts =
        "{peft_type: LORA, r: 2, target_parameters: [mlp.experts.down_proj], target_modules: []}";
    try (PretrainedModel model = with("mixtral", experts)) {
      LoraPairs.of(model.adapters())
          .values()
          .forEach(
              pair -> {
                assertThat(pair.split()).isEqualTo(LoraPair.Split.EXPERTS);
                assertThat(pair.a().size(0)).isEqualTo(2L * pair.blocks());
              });
      assertThat(LoraPairs.of(model.adapters())).isNotEmpty();
    }
  }

  @Test
  void the_narrow_a_of_qalora_is_one_block() {
    LoraConfig config =
        LoraConfig.builder()
            .r(4)
            .targets(Targets.named("q_proj"))
            .qaloraGroupSize(8)
            .variant(new LoraVariant.Qalora(false))
            .build();
    try (PretrainedModel model =
        PretrainedModel.load(Path.of("../parity/models/llama"), ScalarType.Float)) {
      model.attach("default", config, 1);

      Map<String, LoraPair> pairs = LoraPairs.of(model.adapters());

      assertThat(pairs).isNotEmpty();
      assertThat(pairs.values())
          .allSatisfy(pair -> assertThat(pair.blocks()).isOne())
          .allSatisfy(pair -> assertThat(pair.split()).isEqualTo(LoraPair.Split.COLUMNS));
    }
  }

  @Test
  void what_kasa_has_between_its_factors_is_part_of_the_pair() {
    String config =
        "{peft_type: LORA, r: 4, target_modules: [q_proj], kasa_config: {beta: 0.1, gamma: 0.1}}";
    try (PretrainedModel model = with("llama", config)) {
      var parameters = model.adapters().parameters();

      Map<String, LoraPair> pairs = LoraPairs.of(model.adapters());

      assertThat(pairs).isNotEmpty();
      pairs.forEach(
          (key, pair) ->
              assertThat(Objects.requireNonNull(pair.between()))
                  .isSameAs(parameters.get(key.replace("lora_B.weight", "lora_diag"))));
    }
  }

  @Test
  void lora_fa_trains_all_but_a() {
    String config =
        "{peft_type: LORA, r: 4, target_modules: [q_proj, embed_tokens], use_dora: true}";
    try (PretrainedModel model = with("llama", config);
        var optimizer = optimizer(OptimizerType.LORA_FA, model, new ArrayList<>())) {
      var trained = optimizer.groups().getFirst().parameters().keySet();

      assertThat(trained).noneMatch(key -> key.contains("lora_A"));
      assertThat(trained).anyMatch(key -> key.contains("lora_B"));
      assertThat(trained).anyMatch(key -> key.contains("lora_magnitude_vector"));
      assertThat(trained).anyMatch(key -> key.contains("lora_embedding_A"));
      assertThat(model.adapters().parameters().keySet()).isEqualTo(trained);
    }
  }

  @Test
  void in_bytes_embeddings_keep_exact_moments() {
    String config = "{peft_type: LORA, r: 128, target_modules: [q_proj, embed_tokens]}";
    try (PretrainedModel model = with("llama", config);
        var optimizer = optimizer(OptimizerType.ADAMW8BIT, model, new ArrayList<>());
        var _ = new PointerScope()) {
      for (Tensor p : model.adapters().parameters().values()) {
        p.mutable_grad().put(ones_like(p));
      }
      optimizer.step(1);

      // both have 4096 entries or more
      assertThat(optimizer.state().keySet())
          .anyMatch(key -> key.contains("lora_A") && key.endsWith("exp_avg_codes"))
          .anyMatch(key -> key.contains("lora_embedding_A") && key.endsWith("exp_avg"))
          .noneMatch(key -> key.contains("lora_embedding") && key.endsWith("codes"));
    }
  }

  @Test
  void without_factors_that_train_the_optimizers_for_lora_are_refused() {
    String hira = "{peft_type: HIRA, r: 4, target_modules: [q_proj]}";
    String mica = "{peft_type: LORA, r: 4, target_modules: [q_proj], init_lora_weights: mica}";
    for (String config : List.of(hira, mica)) {
      try (PretrainedModel model = with("llama", config)) {
        for (var type : List.of(OptimizerType.LORA_FA, OptimizerType.RIEMANNIAN)) {
          assertThatThrownBy(() -> optimizer(type, model, new ArrayList<>()))
              .isInstanceOf(TargetException.class)
              .hasMessageContaining("training.optimizer is " + type.key());
        }
        assertThat(model.adapters().parameters().values())
            .allMatch(p -> Objects.requireNonNull(p).requires_grad());
      }
    }
  }

  private static Optimizer of(
      String optimizer, double decay, PretrainedModel model, List<String> warnings) {
    String recipe =
        "{model: m, adapter: {peft_type: LORA}, data: {train: rows.jsonl}, output: out, training: {optimizer: %s}}"
            .formatted(optimizer);
    OptimizerSection section = RecipeFile.parse(recipe, List.of()).training().optimizer();
    return Optimizers.of(section, 1e-3, decay, model.adapters(), warnings::add);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "r: 8 | training.optimizer.r is 8 but the adapter default has 4",
        "lora_alpha: 4 | training.optimizer.lora_alpha is 4.0 but the adapter default has 8.0",
        "use_rslora: true | training.optimizer.use_rslora is true but the adapter default has"
            + " false",
      })
  void lora_fa_is_not_told_other_numbers_than_the_adapter_has(String said, String message) {
    String config = "{peft_type: LORA, r: 4, lora_alpha: 8, target_modules: [q_proj]}";
    try (PretrainedModel model = with("llama", config)) {
      assertThatThrownBy(
              () -> of("{type: lora-fa, %s}".formatted(said), 0, model, new ArrayList<>()))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining(message);
      assertThat(model.adapters().parameters().keySet()).anyMatch(key -> key.contains("lora_A"));

      String right = "{type: lora-fa, r: 4, lora_alpha: 8, use_rslora: false}";
      of(right, 0, model, new ArrayList<>()).close();
      assertThat(model.adapters().parameters().keySet()).noneMatch(key -> key.contains("lora_A"));
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{type: lora-fa, eps: -1} | eps is -1.0 but must be finite and not negative",
        "{type: lora-fa, betas: [0.9, 1]} | betas are (0.9, 1.0) but must lie in [0, 1)",
        "{type: lora-plus, loraplus_lr_ratio: -2} | the ratio of learning rates is -2.0",
        "{type: lora-plus, loraplus_lr_embedding: -1} | learning_rate is -1.0",
        "{type: riemannian, reg: -0.5} | reg is -0.5 but must be finite and not negative",
      })
  void what_is_out_of_range_is_an_error_of_the_config(String optimizer, String message) {
    String config = "{peft_type: LORA, r: 4, target_modules: [q_proj, embed_tokens]}";
    try (PretrainedModel model = with("llama", config)) {
      assertThatThrownBy(() -> of(optimizer, 0, model, new ArrayList<>()))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining(message);
    }
  }

  @Test
  void a_frozen_a_leaves_nothing_to_precondition() {
    String config = "{peft_type: LORA, r: 4, target_modules: [q_proj]}";
    try (PretrainedModel model = with("llama", config)) {
      optimizer(OptimizerType.LORA_FA, model, new ArrayList<>()).close();

      assertThatThrownBy(() -> optimizer(OptimizerType.RIEMANNIAN, model, new ArrayList<>()))
          .isInstanceOf(TargetException.class)
          .hasMessageContaining("training.optimizer is riemannian");
    }
  }

  @Test
  void lora_plus_has_a_decay_of_its_own_and_warns_of_another() {
    String config = "{peft_type: LORA, r: 4, target_modules: [q_proj]}";
    try (PretrainedModel model = with("llama", config)) {
      var warnings = new ArrayList<String>();
      try (Optimizer plain = of("lora-plus", 0.1, model, warnings);
          Optimizer own = of("{type: lora-plus, loraplus_weight_decay: 0.2}", 0, model, warnings)) {
        assertThat(plain.groups()).allMatch(group -> group.weightDecay() == 0);
        assertThat(own.groups()).allMatch(group -> group.weightDecay() == 0.2);
      }

      assertThat(warnings)
          .containsExactly(
              "training.weight_decay is 0.1 but has no effect because lora-plus gives each of its"
                  + " groups a decay of its own; say it as loraplus_weight_decay");
    }
  }
}
