package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.gralora.GraloraConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Adapter;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.Objects;
import java.util.stream.Stream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Over a base in half precision a branch is computed in float32 and rounded once. */
class HalfPrecisionBranchTest {

  static Stream<AdapterConfig> configs() {
    Targets layer = Targets.named("layer");
    return Stream.of(
        LoraConfig.builder().r(4).init(new LoraInit.Unset()).targets(layer).build(),
        GraloraConfig.defaults().withR(4).withTargets(layer));
  }

  @ParameterizedTest
  @MethodSource("configs")
  void a_branch_alone_is_off_by_one_rounding_at_most(AdapterConfig config) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      var draw = new Tree.Draw(4);
      var nothing = new Linear(torch.zeros(32, 64).to(ScalarType.BFloat16), null);
      var adapters = Tree.adapters(nothing);
      adapters.attach("one", config, 1);
      Adapter adapter = Objects.requireNonNull(adapters.on("one").get("layer"));
      adapter.state().values().forEach(t -> t.copy_(draw.normal(t.shape())));
      Tensor x = draw.normal(20, 64).to(ScalarType.BFloat16);

      Tensor y = nothing.forward(x);

      Tensor exact =
          x.to(ScalarType.Double).matmul(adapter.deltaWeight().to(ScalarType.Double).t());
      Tensor off = y.to(ScalarType.Double).sub(exact).abs();
      // half a unit in the last of 8 bits, and the float32 sums where products nearly cancel
      Tensor allowed = exact.abs().mul(new Scalar(Math.scalb(1.0, -8))).add(new Scalar(1e-3));
      assertThat(y.scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
      assertThat(adapter.dtype()).isEqualTo(ScalarType.Float);
      assertThat(off.le(allowed).all().item_bool()).isTrue();
    }
  }
}
