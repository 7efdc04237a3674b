package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.arange;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Objects;
import java.util.stream.Stream;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Against bitsandbytes; {@code src/test/python/make_four_bit_golden.py} wrote its numbers. */
class DynamicMapTest {

  static Stream<DynamicMap> maps() {
    return Stream.of(DynamicMap.SIGNED, DynamicMap.POSITIVE);
  }

  private static float[] golden(DynamicMap map) throws IOException {
    String name = map == DynamicMap.SIGNED ? "signed" : "positive";
    try (InputStream in = DynamicMapTest.class.getResourceAsStream("/fourbit/dynamic." + name)) {
      var floats = new float[256];
      ByteBuffer.wrap(Objects.requireNonNull(in).readAllBytes())
          .order(ByteOrder.LITTLE_ENDIAN)
          .asFloatBuffer()
          .get(floats);
      return floats;
    }
  }

  private static float[] floats(Tensor tensor) {
    var floats = new float[(int) tensor.numel()];
    new FloatPointer(tensor.contiguous().data_ptr()).get(floats);
    return floats;
  }

  @ParameterizedTest
  @MethodSource("maps")
  void the_values_are_those_of_bitsandbytes_bit_for_bit(DynamicMap map) throws IOException {
    try (var _ = Scope.open()) {
      Tensor near = Tensor.create(0f);

      assertThat(floats(map.values(near))).isEqualTo(golden(map));
    }
  }

  @ParameterizedTest
  @MethodSource("maps")
  void every_value_is_the_nearest_to_itself_and_to_what_is_a_little_beside(DynamicMap map) {
    try (var _ = Scope.open()) {
      Tensor values = map.values(Tensor.create(0f));
      Tensor gaps = values.diff().mul(new Scalar(0.49));
      Tensor numbers = arange(new Scalar(256)).to(ScalarType.Int);

      assertThat(map.nearest(values).equal(numbers)).isTrue();
      Tensor above = values.narrow(0, 0, 255).add(gaps);
      Tensor below = values.narrow(0, 1, 255).sub(gaps);
      assertThat(map.nearest(above).equal(numbers.narrow(0, 0, 255))).isTrue();
      assertThat(map.nearest(below).equal(numbers.narrow(0, 1, 255))).isTrue();
    }
  }
}
