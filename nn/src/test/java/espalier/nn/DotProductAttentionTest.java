package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.manual_seed;
import static org.bytedeco.pytorch.global.torch.randn;
import static org.bytedeco.pytorch.global.torch.scaled_dot_product_attention;

import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class DotProductAttentionTest {

  private static Tensor oracle(Tensor q, Tensor k, Tensor v, Tensor mask, double scale) {
    long group = q.size(1) / k.size(1);
    Tensor scores =
        q.matmul(
                k.repeat_interleave(group, new org.bytedeco.pytorch.LongOptional(1), none())
                    .transpose(-2, -1))
            .mul(new org.bytedeco.pytorch.Scalar(scale))
            .add(mask);
    return scores
        .softmax(-1)
        .matmul(v.repeat_interleave(group, new org.bytedeco.pytorch.LongOptional(1), none()));
  }

  private static org.bytedeco.pytorch.LongOptional none() {
    return new org.bytedeco.pytorch.LongOptional();
  }

  @ParameterizedTest
  @CsvSource({
    "5,5,true",
    "5,9,true",
    "1,7,true",
    "300,300,true",
    "257,400,true",
    "6,6,false",
    "1,4,false",
    "300,280,false"
  })
  void every_way_gives_the_plain_formula_and_its_gradients(long t, long s, boolean causal) {
    manual_seed(1);
    try (var _ = Scope.graph()) {
      Tensor q = randn(2, 6, t, 8).set_requires_grad(true);
      Tensor k = randn(2, 2, s, 8).set_requires_grad(true);
      Tensor v = randn(2, 2, s, 8).set_requires_grad(true);
      Tensor extra = randn(2, 1, t, s);
      Tensor rule = causal ? DotProductAttention.causal(t, s, q) : extra;
      AttentionMask mask = causal ? new AttentionMask.Causal() : new AttentionMask.Additive(extra);
      Tensor g = randn(2, 6, t, 8);

      oracle(q, k, v, rule, 0.3).mul(g).sum().backward();
      Tensor[] want = {
        oracle(q, k, v, rule, 0.3), q.grad().clone(), k.grad().clone(), v.grad().clone()
      };
      for (boolean half : new boolean[] {false, true}) {
        q.mutable_grad().reset();
        k.mutable_grad().reset();
        v.mutable_grad().reset();
        // float32 through the half-precision way: its formulas without its rounding
        Tensor y =
            half
                ? HalfAttention.of(q, k, v, mask, 0.3)
                : DotProductAttention.of(q, k, v, mask, 0.3);
        y.mul(g).sum().backward();
        Tensor[] got = {y, q.grad(), k.grad(), v.grad()};
        for (int i = 0; i < got.length; i++) {
          assertThat(got[i].allclose(want[i], 1e-4, 1e-4, false)).as("tensor " + i).isTrue();
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"7,7", "1,6", "270,270"})
  void bfloat16_stays_near_float32(long t, long s) {
    manual_seed(2);
    try (var _ = Scope.graph()) {
      Tensor q = randn(1, 4, t, 16);
      Tensor k = randn(1, 2, s, 16);
      Tensor v = randn(1, 2, s, 16);
      Tensor want = DotProductAttention.of(q, k, v, new AttentionMask.Causal(), 0.25);

      Tensor got =
          DotProductAttention.of(
              q.to(ScalarType.BFloat16),
              k.to(ScalarType.BFloat16),
              v.to(ScalarType.BFloat16),
              new AttentionMask.Causal(),
              0.25);

      assertThat(got.to(ScalarType.Float).allclose(want, 2e-2, 3e-2, false)).isTrue();
    }
  }

  @org.junit.jupiter.api.Test
  void a_mask_per_head_is_added_to_each_head() {
    manual_seed(3);
    try (var _ = Scope.graph()) {
      Tensor q = randn(2, 4, 5, 8);
      Tensor k = randn(2, 2, 6, 8);
      Tensor v = randn(2, 2, 6, 8);
      Tensor bias = randn(1, 4, 5, 6);

      Tensor want = oracle(q, k, v, bias, 1);

      var mask = new AttentionMask.Additive(bias);
      assertThat(DotProductAttention.of(q, k, v, mask, 1).allclose(want, 1e-4, 1e-5, false))
          .isTrue();
      assertThat(HalfAttention.of(q, k, v, mask, 1).allclose(want, 1e-4, 1e-5, false)).isTrue();
    }
  }

  @org.junit.jupiter.api.Test
  void half_precision_that_is_widened_gives_the_gradients_of_float32_rounded() {
    manual_seed(5);
    try (var _ = Scope.graph()) {
      Tensor g = rounded(randn(2, 4, 9, 8));
      List<Tensor> inputs =
          List.of(
              rounded(randn(2, 4, 9, 8)), rounded(randn(2, 2, 9, 8)), rounded(randn(2, 2, 9, 8)));
      List<Tensor> halves =
          inputs.stream()
              .map(t -> t.detach().to(ScalarType.BFloat16).set_requires_grad(true))
              .toList();
      inputs.forEach(t -> t.set_requires_grad(true));

      attended(inputs).mul(g).sum().backward();
      attended(halves).mul(g.to(ScalarType.BFloat16)).sum().backward();

      for (int i = 0; i < 3; i++) {
        Tensor want = inputs.get(i).grad();
        Tensor got = halves.get(i).grad().to(ScalarType.Float);
        assertThat(got.allclose(want, 2e-2, 2e-2, false)).as("input " + i).isTrue();
      }
    }
  }

  private static Tensor attended(List<Tensor> qkv) {
    return FlashAttention.of(qkv.get(0), qkv.get(1), qkv.get(2), true, null, 0.5);
  }

  private static Tensor rounded(Tensor t) {
    return t.to(ScalarType.BFloat16).to(ScalarType.Float);
  }

  @org.junit.jupiter.api.Test
  void the_fused_kernel_is_what_float32_uses() {
    manual_seed(4);
    Tensor q = randn(1, 2, 3, 4);

    assertThat(
            DotProductAttention.of(q, q, q, new AttentionMask.Full(), 0.5)
                .equal(scaled_dot_product_attention(q, q, q)))
        .isTrue();
  }
}
