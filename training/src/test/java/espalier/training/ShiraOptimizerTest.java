package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import espalier.adapters.shira.ShiraConfig;
import espalier.adapters.shira.ShiraLinear;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;

/** What an optimizer holds and decays of a SHiRA adapter: its K numbers, and never the weight. */
class ShiraOptimizerTest {

  private static final int K = 2 * (12 + 20);

  @Test
  void the_state_is_k_numbers_a_moment_and_decay_acts_on_the_values() {
    try (var _ = Scope.graph();
        var layer = new Linear(torch.ones(12, 20), null)) {
      var config = ShiraConfig.defaults().withR(2);
      var shira = (ShiraLinear) config.create(layer, "layer", Init.shared(1));
      shira.trainable(true);
      try (var _ = new NoGradGuard()) {
        shira.values().fill_(new Scalar(0.5));
      }
      layer.adapters().attach("one", shira);
      layer.adapters().activate(List.of("one"));
      layer.train(true);
      var group = new ParameterGroup("all", shira.parameters(), 0.1, 0.2);

      try (Optimizer optimizer = new AdamW(List.of(group))) {
        // no loss depends on the values, so that the decay alone moves them
        layer.forward(torch.zeros(3, 20)).sum().backward();
        optimizer.step(1);

        List<Tensor> moments =
            optimizer.state().values().stream().filter(t -> t.numel() > 1).toList();
        assertThat(moments).hasSize(2).allMatch(t -> t.numel() == K);
        Tensor expected = torch.ones(K).mul(new Scalar(0.5 * (1 - 0.1 * 0.2)));
        assertThat(shira.values().detach().allclose(expected)).isTrue();
      }
      // in the weight stand the decayed values on top of the base, which has not decayed
      Tensor sums = layer.forward(torch.ones(1, 20)).sum();
      assertThat(sums.item_double()).isCloseTo(12 * 20 + K * 0.49, within(1e-3));
      assertThat(layer.originalWeight().equal(torch.ones(12, 20))).isTrue();
    }
  }
}
