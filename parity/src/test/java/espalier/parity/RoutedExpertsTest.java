package espalier.parity;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.Adapters;
import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

/** Adapters on stacked experts of a whole model, of which a token sees only a few. */
final class RoutedExpertsTest {

  private static final String DOWN = "model.layers.0.mlp.experts.down_proj";
  private static final String KEY = "base_model.model.model.layers.0.mlp.experts.";
  private static final int EXPERTS = 4;

  private static PretrainedModel adapted() {
    PretrainedModel model = GoldenModel.load(Path.of("models/mixtral"));
    model.attach(
        "one",
        LoraConfig.builder()
            .r(2)
            .init(new LoraInit.Unset())
            .targets(Targets.named().withParameters(List.of("experts.down_proj")))
            .build(),
        1);
    return model;
  }

  private static Tensor logits(PretrainedModel model, long token) {
    return model.model().logits(ModelInputs.of(Tensor.create(new long[] {token}, 1, 1)));
  }

  @Test
  void only_the_experts_that_a_token_is_sent_to_are_computed() {
    try (var _ = Scope.open();
        PretrainedModel model = adapted();
        var _ = new NoGradGuard()) {
      Adapters adapters = model.adapters();
      Tensor a = Objects.requireNonNull(adapters.state("one").get(KEY + "lora_A.weight"));
      Tensor w = Objects.requireNonNull(model.model().namedParameters().get(DOWN));
      Tensor before = logits(model, 7);
      int idle = 0;
      for (int expert = 0; expert < EXPERTS; expert++) {
        Tensor part = a.narrow(0, 2L * expert, 2);
        Tensor kept = part.clone();
        part.fill_(new Scalar(Double.NaN));
        boolean seen = !logits(model, 7).equal(before);
        part.copy_(kept);

        // the base sees an expert exactly where the adapter does
        Tensor base = w.select(0, expert);
        Tensor own = base.clone();
        base.fill_(new Scalar(Double.NaN));
        assertThat(logits(model, 7).equal(before)).isEqualTo(!seen);
        base.copy_(own);
        idle += seen ? 0 : 1;
      }
      assertThat(idle).isEqualTo(2);
    }
  }

  @Test
  void routed_experts_give_what_merged_ones_give_and_idle_ones_learn_nothing() {
    try (var _ = Scope.graph();
        PretrainedModel model = adapted()) {
      Tensor logits = logits(model, 7);
      logits.pow(new Scalar(2)).sum().backward();
      Tensor a = Objects.requireNonNull(model.adapters().parameters().get(KEY + "lora_A.weight"));
      Tensor gradient = new Tensor(a.grad()).view(EXPERTS, -1).abs().sum(1);

      assertThat(gradient.count_nonzero().item_long()).isEqualTo(2);
      try (var _ = new NoGradGuard()) {
        model.adapters().merge(true);
        assertThat(logits(model, 7).allclose(logits, 1e-5, 1e-5, false)).isTrue();
      }
    }
  }
}
