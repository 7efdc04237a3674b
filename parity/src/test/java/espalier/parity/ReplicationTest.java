package espalier.parity;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.randint;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.MergeOptions;
import espalier.adapters.TargetException;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code layer_replication} on a whole model. */
final class ReplicationTest {

  private static final String REPEATED = "model.layers.2.self_attn.q_proj.weight";

  private Scope scope = Scope.open();

  @BeforeEach
  void open() {
    scope.close();
    scope = Scope.open();
  }

  @AfterEach
  void close() {
    scope.close();
  }

  private static PretrainedModel llama() {
    return GoldenModel.load(Path.of("models/llama"));
  }

  private static LoraConfig config(@Nullable List<List<Integer>> ranges) {
    return LoraConfig.builder()
        .r(2)
        .init(new LoraInit.Unset())
        .targets(Targets.named("q_proj"))
        .layerReplication(ranges)
        .build();
  }

  private static final List<List<Integer>> TWICE = List.of(List.of(0, 2), List.of(1, 2));

  private static Tensor logits(PretrainedModel model) {
    try (var _ = new NoGradGuard()) {
      Tensor ids =
          randint(4, new long[] {1, 1}, new TensorOptions(ScalarType.Long))
              .fill_(new org.bytedeco.pytorch.Scalar(7))
              .repeat(1, 5);
      return model.model().logits(ModelInputs.of(ids));
    }
  }

  private static long address(PretrainedModel model, String path) {
    return Objects.requireNonNull(model.model().namedParameters().get(path)).data_ptr().address();
  }

  @Test
  void repeated_blocks_cost_the_bytes_of_their_adapters_only() {
    try (PretrainedModel model = llama()) {
      long before = model.model().namedParameters().size();
      model.attach("one", config(TWICE), 1);

      assertThat(model.model().config().layers()).isEqualTo(3);
      assertThat(model.model().sources()).containsExactly(0, 1, 1);
      assertThat(model.model().namedParameters().size()).isGreaterThan((int) before);
      assertThat(address(model, REPEATED))
          .isEqualTo(address(model, "model.layers.1.self_attn.q_proj.weight"));
      assertThat(model.adapters().parameters()).hasSize(6);
    }
  }

  @Test
  void loading_repeats_the_blocks_once_and_gives_the_same() {
    try (PretrainedModel model = llama();
        PretrainedModel other = llama()) {
      AdapterConfig config = model.attach("one", config(TWICE), 1).config();
      var saved = new LinkedHashMap<>(model.adapters().state("one"));

      other.adapters().load("one", config, saved, LoadOptions.defaults());
      LoadResult again = other.adapters().load("two", config, saved, LoadOptions.defaults());

      assertThat(logits(other).equal(logits(model))).isTrue();
      assertThat(other.model().config().layers()).isEqualTo(3);
      assertThat(again.warnings())
          .contains("the blocks are repeated as layer_replication [[0, 2], [1, 2]] asks already");
    }
  }

  @Test
  void merging_is_refused_until_each_block_may_have_weights_of_its_own(@TempDir Path folder) {
    try (PretrainedModel model = llama();
        var _ = new NoGradGuard()) {
      model.attach("one", config(TWICE), 1);
      Adapters adapters = model.adapters();
      Tensor unmerged = logits(model);

      assertThatThrownBy(() -> adapters.merge(true))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessage(
              "[one] can not be merged because model.layers.1 shares its weights with another block"
                  + " of layer_replication; untie the replicas, which gives each block weights of"
                  + " its own");
      adapters.mergeAndUnload(List.of("one"), MergeOptions.defaults().withUntieReplicas(true));

      assertThat(logits(model).allclose(unmerged, 1e-4, 1e-4, false)).isTrue();
      assertThat(address(model, REPEATED))
          .isNotEqualTo(address(model, "model.layers.1.self_attn.q_proj.weight"));
      model.save(folder, null);
      try (PretrainedModel saved = GoldenModel.load(folder)) {
        assertThat(saved.model().config().layers()).isEqualTo(3);
        assertThat(logits(saved).allclose(unmerged, 1e-4, 1e-4, false)).isTrue();
      }
    }
  }

  @Test
  void what_fails_leaves_the_blocks_as_they_were() {
    try (PretrainedModel model = llama()) {
      Tensor before = logits(model);

      assertThatThrownBy(
              () -> model.attach("one", config(TWICE).withTargets(Targets.named("norm")), 1))
          .isInstanceOf(UnsupportedAdapterException.class);
      assertThatThrownBy(() -> model.attach("one", config(List.of(List.of(0, 3))), 1))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "layer_replication [[0, 3]] reaches beyond the model's 2 blocks, 0 to 1; a range is"
                  + " [start, end)");

      assertThat(model.model().config().layers()).isEqualTo(2);
      assertThat(model.model().find("model.layers.2")).isNull();
      assertThat(logits(model).equal(before)).isTrue();
    }
  }

  @Test
  void a_model_that_is_repeated_in_another_way_or_has_adapters_is_told_apart() {
    try (PretrainedModel model = llama();
        PretrainedModel other = llama();
        PretrainedModel t5 = GoldenModel.load(Path.of("models/t5"))) {
      model.attach("one", config(TWICE), 1);
      other.attach("one", config(null), 1);

      assertThatThrownBy(
              () ->
                  model
                      .adapters()
                      .add("two", config(List.of(List.of(1, 2))), AttachOptions.seeded(1)))
          .isInstanceOf(AdapterException.class)
          .hasMessageContaining("the model was made into [0, 1, 1] before");
      assertThatThrownBy(() -> other.adapters().add("two", config(TWICE), AttachOptions.seeded(1)))
          .isInstanceOf(AdapterException.class)
          .hasMessageContaining("the model has adapters already");
      assertThatThrownBy(() -> t5.attach("one", config(TWICE), 1))
          .isInstanceOf(TargetException.class);
    }
  }
}
