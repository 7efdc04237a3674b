package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.full;
import static org.bytedeco.pytorch.global.torch.ones;
import static org.bytedeco.pytorch.global.torch.randn;

import espalier.nn.Adaptable;
import espalier.nn.ExpertWeight;
import espalier.nn.Native;
import espalier.nn.Scope;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

class MixtureTest {

  static {
    Native.prepare();
  }

  @Test
  void experts_that_no_token_was_sent_to_are_not_computed() {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Tensor router = ones(new long[] {3, 4});
      router.select(0, 2).fill_(new Scalar(-5)); // inputs are positive, so never the third
      Tensor gateUp = randn(3, 10, 4);
      gateUp.select(0, 2).copy_(full(new long[] {10, 4}, new Scalar(Double.NaN)));
      Map<Part, Adaptable> made =
          Map.of(
              Part.ROUTER, new ExpertWeight(router, false),
              Part.EXPERTS_GATE_UP, new ExpertWeight(gateUp, false),
              Part.EXPERTS_DOWN, new ExpertWeight(randn(3, 4, 5), false));
      var mixture = new Mixture(new FeedForwardSpec.Experts(3, 5, 2, true, Activation.SILU), made);

      Tensor y = mixture.finish(mixture.project(randn(2, 6, 4).abs()));

      assertThat(y.shape()).containsExactly(2, 6, 4);
      assertThat(y.isfinite().all().item_bool()).isTrue();
    }
  }
}
