package espalier.checkpoints.gguf;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The expected numbers are made by {@code src/test/python/make_gguf_golden.py}. */
class BlockFormatTest {

  static Stream<BlockFormat> formats() {
    return IntStream.range(0, 64).mapToObj(BlockFormats::find).filter(format -> format != null);
  }

  @ParameterizedTest
  @MethodSource("formats")
  void every_block_reads_as_the_reference_reads_it_bit_for_bit(BlockFormat format) {
    byte[] blocks = resource(format.name() + ".blocks");
    float[] expected = floats(resource(format.name() + ".f32"));

    float[] read = new float[expected.length];
    for (int block = 0; block < expected.length / format.elements(); block++) {
      format.dequantise(blocks, block * format.bytes(), read, block * format.elements());
    }

    assertThat(expected).hasSizeGreaterThanOrEqualTo(256);
    assertThat(read).isEqualTo(expected);
  }

  @ParameterizedTest
  @MethodSource("formats")
  void a_block_in_native_memory_reads_the_same(BlockFormat format) {
    byte[] blocks = resource(format.name() + ".blocks");
    float[] fromArray = new float[format.elements()];
    format.dequantise(blocks, format.bytes(), fromArray, 0);

    float[] fromSegment = new float[format.elements()];
    format.dequantise(MemorySegment.ofArray(blocks), format.bytes(), fromSegment);

    assertThat(fromSegment).isEqualTo(fromArray);
  }

  @Test
  void all_eighteen_formats_are_read() {
    assertThat(formats())
        .extracting(BlockFormat::name)
        .containsExactly(
            "F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
            "Q6_K", "I8", "I16", "I32", "I64", "F64", "BF16");
  }

  @Test
  void rounding_to_bfloat16_is_to_nearest_with_ties_to_even() {
    assertThat(Dequantiser.bfloat16(1)).isEqualTo((short) 0x3f80);
    assertThat(Dequantiser.bfloat16(Float.intBitsToFloat(0x3f808000))).isEqualTo((short) 0x3f80);
    assertThat(Dequantiser.bfloat16(Float.intBitsToFloat(0x3f808001))).isEqualTo((short) 0x3f81);
    assertThat(Dequantiser.bfloat16(Float.intBitsToFloat(0x3f818000))).isEqualTo((short) 0x3f82);
    assertThat(Dequantiser.bfloat16(Float.NaN)).isEqualTo((short) 0x7fc0);
    assertThat(Dequantiser.bfloat16(-Float.MAX_VALUE)).isEqualTo((short) 0xff80);
  }

  private static float[] floats(byte[] bytes) {
    float[] floats = new float[bytes.length / Float.BYTES];
    ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(floats);
    return floats;
  }

  private static byte[] resource(String name) {
    try (InputStream in = BlockFormatTest.class.getResourceAsStream("/gguf/" + name)) {
      if (in == null) {
        throw new IllegalStateException("no resource " + name + "; run make_gguf_golden.py");
      }
      return in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
