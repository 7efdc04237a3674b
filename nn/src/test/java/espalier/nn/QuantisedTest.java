package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.linspace;
import static org.bytedeco.pytorch.global.torch.zeros;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class QuantisedTest {

  private static final float[] LEVELS = {
    -1f, -0.6961928f, -0.52507305f, -0.3949175f, -0.28444138f, -0.18477343f, -0.091050036f, 0f,
    0.0795803f, 0.1609302f, 0.2461123f, 0.33791524f, 0.44070983f, 0.562617f, 0.72295684f, 1f
  };

  private final Scope scope = Scope.open();

  @AfterEach
  void close() {
    scope.close();
  }

  private static double gap(Tensor a, Tensor b) {
    return a.sub(b).abs().max().item_double();
  }

  @Test
  void every_value_goes_to_the_nearest_of_the_sixteen_levels() {
    Tensor x = linspace(new Scalar(-1), new Scalar(1), 64);

    Tensor seen = FourBit.NF4.quantise(x).dequantise();

    for (int i = 0; i < 64; i++) {
      float value = x.select(0, i).item_float();
      float nearest = LEVELS[0];
      for (float level : LEVELS) {
        nearest = Math.abs(level - value) < Math.abs(nearest - value) ? level : nearest;
      }
      assertThat(seen.select(0, i).item_float()).as("of %s", value).isEqualTo(nearest);
    }
  }

  @Test
  void values_of_the_grid_stay_as_they_are_in_any_shape() {
    for (long[] shape : new long[][] {{3, 5}, {64}, {7, 11}, {2, 3, 43}}) {
      Tensor x = Init.shared(1).normal(1, shape);

      FourBitBlocks once = FourBit.NF4.quantise(x);
      Tensor values = once.dequantise();

      assertThat(values.shape()).containsExactly(shape);
      assertThat(once.packed().numel()).isEqualTo((x.numel() + 1) / 2);
      assertThat(once.packed().scalar_type().intern()).isEqualTo(ScalarType.Byte);
      assertThat(FourBit.NF4.quantise(values).dequantise().equal(values)).isTrue();
      assertThat(
              FourBitBlocks.of(FourBit.NF4, once.packed(), once.absmax(), shape)
                  .dequantise()
                  .equal(values))
          .isTrue();
    }
  }

  @Test
  void each_block_has_a_scale_of_its_own() {
    Tensor x = Init.shared(1).normal(1, 128);
    x.narrow(0, 64, 64).mul_(new Scalar(1000));

    Tensor absmax = FourBit.NF4.quantise(x).absmax();

    assertThat(gap(absmax.select(0, 0), x.narrow(0, 0, 64).abs().max())).isZero();
    assertThat(gap(absmax.select(0, 1), x.narrow(0, 64, 64).abs().max())).isZero();
  }

  @Test
  void the_first_of_two_codes_lies_in_the_high_bits() {
    Tensor x = Tensor.create(new float[] {1, -1, 0}, 3);

    Tensor packed = FourBit.NF4.quantise(x).packed();

    assertThat(packed.select(0, 0).item_int()).isEqualTo(15 * 16);
    assertThat(packed.select(0, 1).item_int()).isEqualTo(7 * 16);
  }

  @Test
  void zeros_stay_zero() {
    assertThat(FourBit.NF4.quantise(zeros(65)).dequantise().abs().max().item_double()).isZero();
    assertThat(Int8Rows.quantise(zeros(2, 3)).dequantise().abs().max().item_double()).isZero();
  }

  @Test
  void int8_is_off_by_half_a_step_of_its_row_at_most() {
    Tensor x = Init.shared(1).normal(1, 4, 50);
    x.select(0, 2).mul_(new Scalar(100));

    Int8Rows rows = Int8Rows.quantise(x);

    Tensor steps = x.sub(rows.dequantise()).abs().div(rows.scale().unsqueeze(1));
    assertThat(steps.max().item_double()).isLessThan(0.5001);
    assertThat(rows.codes().abs().amax(new long[] {1}, false).eq(new Scalar(127)).all().item_bool())
        .isTrue();
  }

  @Test
  void parts_of_different_tensors_are_refused() {
    FourBitBlocks some = FourBit.NF4.quantise(zeros(70));

    assertThatThrownBy(() -> FourBitBlocks.of(FourBit.NF4, some.packed(), some.absmax(), 9, 9))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "81 values in nf4 are 41 bytes and 2 scales but there are 35 and 2; the parts are of"
                + " different tensors");
  }
}
