package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.manual_seed;
import static org.bytedeco.pytorch.global.torch.randn;

import java.util.function.Function;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class QuantisedWeightTest {

  private final Scope scope = Scope.open();

  @BeforeEach
  void seed() {
    manual_seed(7);
  }

  @AfterEach
  void close() {
    scope.close();
  }

  static Stream<Arguments> forms() {
    return Stream.of(
        form("nf4", w -> FourBitWeight.quantise(w, FourBit.NF4, ScalarType.Float)),
        form("fp4", w -> FourBitWeight.quantise(w, FourBit.FP4, ScalarType.Float)),
        form("float8_e4m3fn", w -> float8(w, ScalarType.Float8_e4m3fn)),
        form("float8_e5m2", w -> float8(w, ScalarType.Float8_e5m2)),
        form("int8", w -> Int8Weight.quantise(w, ScalarType.Float)),
        form("int4", w -> Int4Weight.quantise(w, ScalarType.Float, 4)));
  }

  private static Float8Weight float8(Tensor weight, ScalarType form) {
    return Float8Weight.quantise(weight, form, ScalarType.Float);
  }

  private static Arguments form(String name, Function<Tensor, QuantisedWeight> make) {
    return Arguments.of(name, make);
  }

  private static double gap(Tensor a, Tensor b) {
    return a.sub(b).abs().max().item_double();
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("forms")
  void any_run_of_rows_is_decoded_as_the_whole_is(
      String name, Function<Tensor, QuantisedWeight> make) {
    // 20 inputs: blocks of 64 reach over the ends of rows
    try (QuantisedWeight codes = make.apply(randn(37, 20))) {
      Tensor whole = codes.rows(0, 37);

      assertThat(codes.rows(5, 1).equal(whole.narrow(0, 5, 1))).isTrue();
      assertThat(codes.rows(11, 26).equal(whole.narrow(0, 11, 26))).isTrue();
      assertThat(
              codes
                  .rows(3, 30, ScalarType.BFloat16)
                  .equal(whole.narrow(0, 3, 30).to(ScalarType.BFloat16)))
          .isTrue();
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("forms")
  void a_weight_of_several_panels_is_near_to_what_was_quantised(
      String name, Function<Tensor, QuantisedWeight> make) {
    Tensor weight = randn(700, 100);

    try (QuantisedWeight codes = make.apply(weight)) {
      double error = gap(codes.rows(0, 700), weight);

      // half of the widest gap between two levels, for the largest magnitude of some 4.6
      assertThat(error).isBetween(1e-4, name.equals("int8") ? 0.02 : 0.8);
    }
  }

  @Test
  void nf4_with_plain_scales_and_with_quantised_ones_differ_by_the_scales_alone() {
    Tensor weight = randn(300, 128);
    FourBitBlocks plain = FourBit.NF4.quantise(weight);

    try (FourBitWeight codes = FourBitWeight.quantise(weight, FourBit.NF4, ScalarType.Float)) {
      Tensor ratio = codes.rows(0, 300).view(-1, 64).sub(plain.dequantise().view(-1, 64));

      assertThat(codes.packed().equal(plain.packed())).isTrue();
      assertThat(ratio.abs().max().item_double()).isBetween(1e-6, 0.03);
    }
  }

  @Test
  void scales_are_restored_to_within_half_a_level_of_their_deviation_from_the_mean() {
    Tensor scales = randn(1000).mul(new Scalar(0.3)).add(new Scalar(2));

    try (BlockScales coded = BlockScales.quantise(scales)) {
      double widest = scales.sub(scales.mean()).abs().max().item_double();

      // the levels of the last decade are 0.9 / 64 apart; between 0.993 and 1 lies the largest
      assertThat(gap(coded.decode(0, 1000), scales)).isLessThan(widest * 0.9 / 64 / 2 + 1e-6);
      assertThat(coded.decode(250, 300).equal(coded.decode(0, 1000).narrow(0, 250, 300))).isTrue();
    }
  }

  @Test
  void the_forms_take_the_bits_that_they_promise() {
    Tensor weight = randn(512, 576);
    double n = 512 * 576;

    try (QuantisedWeight nf4 = FourBitWeight.quantise(weight, FourBit.NF4, ScalarType.BFloat16);
        QuantisedWeight int8 = Int8Weight.quantise(weight, ScalarType.BFloat16);
        QuantisedWeight int4 = Int4Weight.quantise(weight, ScalarType.BFloat16, 64)) {

      assertThat(nf4.bytes() * 8 / n).isBetween(4.12, 4.14);
      assertThat(int8.bytes() * 8 / n).isBetween(8.05, 8.06);
      assertThat(int4.bytes() * 8 / n).isEqualTo(5);
    }
  }

  @Test
  void a_block_of_zeros_stays_zero_in_every_form() {
    Tensor zeros = randn(4, 64).mul(new Scalar(0));

    forms()
        .forEach(
            form -> {
              @SuppressWarnings("unchecked")
              var make = (Function<Tensor, QuantisedWeight>) form.get()[1];
              try (QuantisedWeight codes = make.apply(zeros)) {
                assertThat(codes.rows(0, 4).abs().max().item_double()).isZero();
              }
            });
  }

  @Test
  void a_constant_is_added_to_groups_without_rounding() {
    Tensor weight = randn(6, 16);
    Tensor delta = randn(6, 4);

    try (Int4Weight codes = Int4Weight.quantise(weight, ScalarType.Float, 4);
        Int4Weight sum = codes.plus(delta)) {
      Tensor wanted = codes.rows(0, 6).view(6, 4, 4).add(delta.unsqueeze(2)).view(6, 16);

      assertThat(gap(sum.rows(0, 6), wanted)).isLessThan(1e-5);
    }
  }

  @Test
  void what_is_quantised_again_keeps_its_codes() {
    // values that lie on the grid go back to where they lay
    try (Int8Weight codes = Int8Weight.quantise(randn(9, 33), ScalarType.Float);
        Int8Weight again = Int8Weight.quantise(codes.rows(0, 9), ScalarType.Float)) {

      assertThat(again.codes().equal(codes.codes())).isTrue();
    }
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("forms")
  void a_weight_that_is_a_transposed_view_is_quantised_row_by_row_too(
      String name, Function<Tensor, QuantisedWeight> make) {
    Tensor weight = randn(20, 37);

    try (QuantisedWeight view = make.apply(weight.t());
        QuantisedWeight copy = make.apply(weight.t().contiguous())) {
      assertThat(view.rows(0, 37).equal(copy.rows(0, 37))).isTrue();
    }
  }

  @Test
  void codes_live_as_long_as_one_of_their_owners() {
    QuantisedWeight first = FourBitWeight.quantise(randn(8, 64), FourBit.NF4, ScalarType.Float);
    Tensor before = first.rows(0, 8);

    try (QuantisedWeight second = first.withDtype(ScalarType.BFloat16)) {
      first.close();

      assertThat(second.rows(0, 8, ScalarType.Float).equal(before)).isTrue();
      assertThat(second.dtype()).isEqualTo(ScalarType.BFloat16);
    }
  }

  @Test
  void what_float8_can_not_reach_becomes_the_end_of_its_range() {
    Tensor weight = Tensor.create(new float[] {1e6f, -1e6f, 0.3f}, 1, 3);

    try (Float8Weight four = float8(weight, ScalarType.Float8_e4m3fn);
        Float8Weight five = float8(weight, ScalarType.Float8_e5m2)) {
      assertThat(four.rows(0, 1).equal(Tensor.create(new float[] {448, -448, 0.3125f}, 1, 3)))
          .isTrue();
      assertThat(five.rows(0, 1).equal(Tensor.create(new float[] {57344, -57344, 0.3125f}, 1, 3)))
          .isTrue();
      assertThat(four.bytes()).isEqualTo(3);
    }
  }

  @Test
  void a_group_that_does_not_divide_the_inputs_is_refused() {
    Tensor weight = randn(4, 20);

    assertThatThrownBy(() -> Int4Weight.quantise(weight, ScalarType.Float, 8))
        .hasMessage(
            "a group is 8 inputs but must be an even number that divides the 20 inputs of the"
                + " layer");
  }
}
