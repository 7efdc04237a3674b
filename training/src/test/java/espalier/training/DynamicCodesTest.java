package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.arange;
import static org.bytedeco.pytorch.global.torch.manual_seed;
import static org.bytedeco.pytorch.global.torch.ones;
import static org.bytedeco.pytorch.global.torch.randn;
import static org.bytedeco.pytorch.global.torch.zeros;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class DynamicCodesTest {

  @BeforeEach
  void seed() {
    manual_seed(11);
  }

  private static Tensor through(DynamicCodes kind, Tensor exact) {
    long blocks = DynamicCodes.blocks(exact.numel());
    Tensor codes = zeros(new long[] {blocks, DynamicCodes.BLOCK}).to(ScalarType.Byte);
    Tensor largest = zeros(blocks);
    kind.encode(exact, codes, largest);
    return kind.decode(codes, largest, exact);
  }

  private static Tensor table(DynamicCodes kind) {
    Tensor all = arange(new Scalar(256.0)).to(ScalarType.Byte).view(1, 256);
    return kind.decode(all, ones(1), zeros(256));
  }

  @Test
  void the_256_values_rise_and_hold_zero_and_one() {
    for (var kind : new DynamicCodes[] {DynamicCodes.SIGNED, DynamicCodes.POSITIVE}) {
      Tensor values = table(kind);

      assertThat(values.diff().gt(new Scalar(0.0)).all().item_bool()).isTrue();
      assertThat(values.eq(new Scalar(0.0)).sum().item_long()).isOne();
      assertThat(values.max().item_double()).isOne();
    }
    // of each decade the middles of equal parts of [0.1, 1]: the lowest has one part or two
    assertThat(table(DynamicCodes.SIGNED).abs().sort().get0().get(1).item_double())
        .isCloseTo(0.55e-6, org.assertj.core.api.Assertions.within(1e-12));
    assertThat(table(DynamicCodes.POSITIVE).get(1).item_double())
        .isCloseTo(0.325e-6, org.assertj.core.api.Assertions.within(1e-12));
  }

  @Test
  void each_value_is_its_own_code() {
    for (var kind : new DynamicCodes[] {DynamicCodes.SIGNED, DynamicCodes.POSITIVE}) {
      Tensor values = table(kind);

      assertThat(through(kind, values).equal(values)).isTrue();
    }
  }

  @Test
  void every_entry_becomes_its_nearest_value() {
    Tensor exact = randn(256);
    Tensor most = exact.abs().max();

    Tensor near = through(DynamicCodes.SIGNED, exact);

    Tensor choices = table(DynamicCodes.SIGNED).mul(most).view(1, 256);
    Tensor least = exact.view(256, 1).sub(choices).abs().amin(new long[] {1}, false);
    assertThat(near.sub(exact).abs().allclose(least, 1e-5, 1e-7, false)).isTrue();
  }

  @Test
  void a_large_entry_troubles_its_own_block_alone() {
    Tensor exact = randn(3 * 256 + 17).mul(new Scalar(1e-9));
    Tensor clean = through(DynamicCodes.SIGNED, exact);
    exact.get(300).fill_(new Scalar(1.0));

    Tensor with = through(DynamicCodes.SIGNED, exact);

    assertThat(with.narrow(0, 0, 256).equal(clean.narrow(0, 0, 256))).isTrue();
    assertThat(with.narrow(0, 512, 273).equal(clean.narrow(0, 512, 273))).isTrue();
    assertThat(with.get(300).item_float()).isEqualTo(1f);
  }

  @Test
  void a_positive_entry_never_becomes_zero_and_zero_stays() {
    Tensor exact = zeros(256);
    exact.get(0).fill_(new Scalar(1.0));
    exact.get(1).fill_(new Scalar(1e-30));

    Tensor near = through(DynamicCodes.POSITIVE, exact);

    assertThat(near.get(1).item_float()).isPositive();
    assertThat(near.get(2).item_float()).isZero();
    assertThat(through(DynamicCodes.POSITIVE, zeros(5)).equal(zeros(5))).isTrue();
  }
}
