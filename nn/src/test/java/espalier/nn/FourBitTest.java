package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.randn;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Against what bitsandbytes computes; the expected numbers are made by {@code
 * src/test/python/make_four_bit_golden.py}.
 */
class FourBitTest {

  private static final int ROWS = 260;
  private static final int COLUMNS = 66;
  private static final int LAST = 1000; // values of which the files hold the numbers

  private final Scope scope = Scope.open();

  @AfterEach
  void close() {
    scope.close();
  }

  static Stream<FourBit> forms() {
    return Stream.of(FourBit.NF4, FourBit.FP4);
  }

  /** The weight of the script. */
  private static Tensor weight() {
    var values = new float[ROWS * COLUMNS];
    long state = 1;
    for (int i = 0; i < values.length; i++) {
      double product = 1;
      for (int factor = 0; factor < 2; factor++) {
        state = (state * 1664525 + 1013904223) % (1L << 32);
        product *= ((state >> 8) - (1 << 23)) / (double) (1 << 24);
      }
      values[i] = (float) product;
    }
    return Tensor.create(values, ROWS, COLUMNS);
  }

  @ParameterizedTest
  @MethodSource("forms")
  void codes_scales_and_values_are_those_of_bitsandbytes_bit_for_bit(FourBit form) {
    FourBitBlocks blocks = form.quantise(weight());

    assertThat(bytes(blocks.packed())).isEqualTo(resource(form, "packed"));
    assertThat(floats(blocks.absmax())).isEqualTo(floats(resource(form, "absmax")));
    assertThat(floats(last(blocks.dequantise()))).isEqualTo(floats(resource(form, "values")));
  }

  @ParameterizedTest
  @MethodSource("forms")
  void with_quantised_scales_the_values_are_those_of_bitsandbytes(FourBit form) {
    Tensor absmax = form.quantise(weight()).absmax();

    try (FourBitWeight coded = FourBitWeight.quantise(weight(), form, ScalarType.Float);
        BlockScales scales = BlockScales.quantise(absmax)) {
      assertThat(bytes(coded.packed())).isEqualTo(resource(form, "packed"));
      assertThat(bytes(scales.codes())).isEqualTo(resource(form, "scales"));
      assertThat(floats(last(coded.rows(0, ROWS)))).isEqualTo(floats(resource(form, "doubled")));
    }
  }

  @ParameterizedTest
  @MethodSource("forms")
  void the_values_of_the_grid_keep_their_codes(FourBit form) {
    Tensor values = form.quantise(randn(7, 30)).dequantise();

    assertThat(form.quantise(values).dequantise().equal(values)).isTrue();
  }

  @Test
  void fp4_has_a_sign_two_bits_of_exponent_and_one_of_mantissa() {
    float[] values = FourBit.FP4.table();

    for (int code = 0; code < 8; code++) {
      assertThat(values[code + 8]).isEqualTo(-values[code]);
    }
    assertThat(values[3]).isEqualTo(1);
    assertThat(values[1] * 12).isEqualTo(0.0625f);
  }

  private static Tensor last(Tensor tensor) {
    Tensor flat = tensor.view(-1);
    return flat.narrow(0, flat.numel() - LAST, LAST);
  }

  private static byte[] bytes(Tensor tensor) {
    var bytes = new byte[(int) tensor.numel()];
    tensor.contiguous().data_ptr_byte().get(bytes);
    return bytes;
  }

  private static float[] floats(Tensor tensor) {
    var floats = new float[(int) tensor.numel()];
    tensor.contiguous().data_ptr_float().get(floats);
    return floats;
  }

  private static float[] floats(byte[] bytes) {
    var floats = new float[bytes.length / Float.BYTES];
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(floats);
    return floats;
  }

  private static byte[] resource(FourBit form, String part) {
    String name = "/fourbit/%s.%s".formatted(form.key(), part);
    try (InputStream in = FourBitTest.class.getResourceAsStream(name)) {
      if (in == null) {
        throw new IllegalStateException("no resource " + name + "; run make_four_bit_golden.py");
      }
      return in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
