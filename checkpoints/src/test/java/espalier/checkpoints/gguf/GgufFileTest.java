package espalier.checkpoints.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.checkpoints.CheckpointException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.assertj.core.api.AbstractStringAssert;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GgufFileTest {

  @TempDir Path folder;

  @Test
  void metadata_keeps_each_type_and_arrays_within_arrays() {
    var file =
        open(
            new TinyGguf()
                .key("a.byte", (byte) -3)
                .key("a.short", (short) -300)
                .key("a.int", -1)
                .key("a.huge", -1L)
                .key("a.float", 1e-5f)
                .key("a.double", 2.5)
                .key("a.flag", true)
                .key("a.text", "größer 🙂")
                .key("a.list", List.of(List.of(1, 2), List.of(3)))
                .key("a.none", List.of()));

    assertThat(file.metadata().values())
        .containsEntry("a.byte", -3L)
        .containsEntry("a.short", -300L)
        .containsEntry("a.int", 4294967295L)
        .containsEntry("a.huge", new BigInteger("18446744073709551615"))
        .containsEntry("a.float", 1e-5f)
        .containsEntry("a.double", 2.5)
        .containsEntry("a.flag", true)
        .containsEntry("a.text", "größer 🙂")
        .containsEntry("a.list", List.of(List.of(1L, 2L), List.of(3L)))
        .containsEntry("a.none", List.of());
    assertThat(file.version()).isEqualTo(3);
  }

  @Test
  void a_float_is_the_decimal_that_was_written_not_its_nearest_double() {
    var metadata = open(new TinyGguf().key("eps", 1e-5f)).metadata();

    assertThat(metadata.number("eps")).isEqualTo(1e-5);
  }

  @Test
  void a_value_of_another_type_and_a_missing_key_are_refused_by_name() {
    var metadata =
        open(new TinyGguf().key("a.size", "large").key("a.list", List.of("x"))).metadata();

    refused(() -> metadata.integer("a.size"))
        .endsWith("a.size is large but must be a whole number below 2^63; convert the model again");
    refused(() -> metadata.strings("a.size")).contains("a.size is large but must be an array");
    refused(() -> metadata.numbers("a.list")).contains("a.list is x but must be a number");
    refused(() -> metadata.string("a.missing"))
        .endsWith(
            "a.missing is missing, but the model can not be read without it; convert it again");
    assertThat(metadata.integer("a.missing", 7)).isEqualTo(7);
  }

  @Test
  void dimensions_are_given_slowest_first() {
    var file = open(new TinyGguf().counting("w", 2, 3, 4));

    try (var _ = new PointerScope()) {
      Tensor tensor = file.tensor("w", ScalarType.Float);

      assertThat(file.tensors().getFirst().shape()).containsExactly(2L, 3L, 4L);
      assertThat(shape(tensor)).containsExactly(2, 3, 4);
      assertThat(numbers(tensor)).startsWith(0, 1, 2, 3).endsWith(23);
    }
  }

  @Test
  void bfloat16_holds_the_rounded_numbers() {
    var file = open(new TinyGguf().floats("w", new float[] {1, -2.5f, 1.001f, 300}, 4));

    try (var _ = new PointerScope()) {
      Tensor tensor = file.tensor("w", ScalarType.BFloat16);
      Tensor again = file.tensor("w", tensor.scalar_type().intern());

      assertThat(again.equal(tensor)).isTrue();
      assertThat(tensor.scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
      assertThat(numbers(tensor.to(ScalarType.Float))).containsExactly(1, -2.5f, 1, 300);
    }
  }

  @Test
  void rows_read_alone_are_the_rows_of_the_whole() {
    // larger than a buffer and than one thread's share, and quantised
    int rows = 40;
    int row = 9216;
    byte[] blocks = new byte[rows * row / 32 * 34];
    for (int i = 0; i < blocks.length; i++) {
      blocks[i] = (byte) (i % 34 == 1 ? 0x2c : i * 31); // the scale's exponent stays ordinary
    }
    var file = open(new TinyGguf().tensor("w", TinyGguf.Q8_0, blocks, rows, row));

    try (var _ = new PointerScope()) {
      float[] whole = numbers(file.tensor("w", ScalarType.Float));
      Tensor part = file.dequantiseRows("w", 7, 31, ScalarType.Float);

      assertThat(shape(part)).containsExactly(24, row);
      assertThat(numbers(part)).isEqualTo(Arrays.copyOfRange(whole, 7 * row, 31 * row));
    }
  }

  @Test
  void a_tensor_dies_with_the_scope_it_was_read_in_and_outlives_the_file() {
    Tensor tensor;
    try (var _ = new PointerScope()) {
      try (var file = open(new TinyGguf().counting("w", 3))) {
        tensor = file.tensor("w", ScalarType.Float);
      }
      assertThat(numbers(tensor)).containsExactly(0, 1, 2);
    }

    assertThat(tensor.isNull()).isTrue();
  }

  @Test
  void without_a_scope_the_caller_owns_the_tensor() {
    Tensor tensor = open(new TinyGguf().counting("w", 3)).tensor("w", ScalarType.Float);

    assertThat(numbers(tensor)).containsExactly(0, 1, 2);

    tensor.close();
    assertThat(tensor.isNull()).isTrue();
  }

  @Test
  void a_closed_file_says_so() {
    var file = open(new TinyGguf().counting("w", 3));
    file.close();
    file.close();

    assertThatThrownBy(() -> file.tensor("w", ScalarType.Float))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageEndingWith("tiny.gguf was closed before w was read");
  }

  @Test
  void wrong_questions_are_answered_with_what_can_be_asked() {
    var file = open(new TinyGguf().counting("w", 3, 2));

    assertThatThrownBy(() -> file.tensor("v", ScalarType.Float))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageEndingWith(
            "tiny.gguf has no tensor v among its 1; GgufFile.tensors() lists them");
    assertThatThrownBy(() -> file.tensor("w", ScalarType.Half))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "w was asked for as Half, but float32 (Float) and bfloat16 (BFloat16) can be read");
    assertThatThrownBy(() -> file.dequantiseRows("w", 2, 4, ScalarType.Float))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("rows 2 to 4 of w were asked for, but it has 3");
  }

  @Test
  void a_missing_file_is_refused() {
    refused(() -> GgufFile.open(folder.resolve("none.gguf")))
        .contains("none.gguf can not be opened: java.nio.file.NoSuchFileException");
  }

  @Test
  void a_file_that_is_no_gguf_is_refused_with_what_it_starts_with() {
    byte[] bytes = new TinyGguf().bytes();
    bytes[0] = 'P';

    refusedBytes(bytes)
        .isEqualTo(
            "tiny.gguf, byte 0: the file starts with 0x50475546, but a GGUF file with GGUF"
                + " (0x47475546)");
    refusedBytes(new byte[0])
        .startsWith("tiny.gguf, byte 0: the file ends within the magic bytes: 4 bytes needed");
  }

  @Test
  void version_1_and_big_endian_and_unknown_versions_are_refused_by_name() {
    refusedBytes(edited(4, 4, 1)).contains("byte 4: the file is of GGUF version 1");
    refusedBytes(edited(4, 4, 0x03000000)).contains("byte 4: the file is big-endian");
    refusedBytes(edited(4, 4, 4)).contains("the file is of GGUF version 4, but 2 and 3 are read");
  }

  @Test
  void version_2_is_read() throws IOException {
    Path path = Files.write(folder.resolve("tiny.gguf"), edited(4, 4, 2));

    try (var file = GgufFile.open(path)) {
      assertThat(file.version()).isEqualTo(2);
    }
  }

  @Test
  void counts_that_the_file_can_not_hold_are_refused_before_anything_is_allocated() {
    refusedBytes(edited(8, 8, Long.MAX_VALUE))
        .contains("byte 8: the number of tensors says 9223372036854775807, but the");
    refusedBytes(edited(16, 8, -1))
        .contains("byte 16: the number of keys says 18446744073709551615, but the");
    refusedBytes(edited(24, 8, 1L << 40))
        .contains("byte 24: key 1 of 1 says it is 1099511627776 bytes long, but");
  }

  @Test
  void a_truncated_file_is_refused_with_the_tensor_that_is_cut() {
    byte[] whole = new TinyGguf().key("k", 1).counting("w", 64).bytes();

    refusedBytes(Arrays.copyOf(whole, whole.length - 4))
        .isEqualTo(
            "tiny.gguf, byte 41: w takes 256 bytes at offset 0 of the data, but the data has 252;"
                + " the file is damaged or was cut off, fetch or convert it again");
  }

  @Test
  void names_that_are_there_twice_are_refused() {
    byte[] keys = new TinyGguf().key("aa", 1).key("ab", 1).bytes();
    keys[24 + 8 + 2 + 4 + 4 + 8 + 1] = 'a';
    byte[] tensors = new TinyGguf().counting("wa", 1).counting("wb", 1).bytes();
    tensors[24 + 8 + 2 + 4 + 8 + 4 + 8 + 8 + 1] = 'a';

    refusedBytes(keys).contains("byte 42: the key aa is there twice");
    refusedBytes(tensors).contains("byte 58: the tensor wa is there twice");
  }

  @Test
  void tensors_that_overlap_or_stand_askew_are_refused() {
    byte[] file = new TinyGguf().counting("wa", 16).counting("wb", 16).bytes();
    int offsetOfWb = 24 + 2 * (8 + 2 + 4 + 8 + 4) + 8;

    refusedBytes(edited(file, offsetOfWb, 8, 32))
        .contains("wb starts at byte 128, within wa, which ends at byte 160");
    refusedBytes(edited(file, offsetOfWb, 8, 65))
        .contains("wb has offset 65, but an offset is a multiple of the alignment 32");
  }

  @Test
  void impossible_shapes_are_refused() {
    byte[] file = new TinyGguf().counting("w", 2, 2).bytes();
    int dimensions = 24 + 8 + 1;

    refusedBytes(edited(file, dimensions, 4, 0)).contains("w has 0 dimensions, but 1 to 4");
    refusedBytes(edited(file, dimensions, 4, 5)).contains("w has 5 dimensions, but 1 to 4");
    refusedBytes(edited(file, dimensions + 4, 8, 0)).contains("dimension 1 of w is 0");
    refusedBytes(edited(edited(file, dimensions + 4, 8, 1L << 32), dimensions + 12, 8, 1L << 32))
        .contains("w has shape [4294967296, 4294967296], whose product does not fit 63 bits");
    refusedBytes(edited(file, dimensions + 20, 4, 2))
        .contains("w has rows of 2, but Q4_0 is stored in blocks of 32");
  }

  @Test
  void a_format_that_is_not_read_is_named_with_those_that_are() {
    byte[] file = new TinyGguf().counting("w", 2).bytes();
    int type = 24 + 8 + 1 + 4 + 8;

    refusedBytes(edited(file, type, 4, 23))
        .isEqualTo(
            "tiny.gguf, byte 45: w is stored as IQ4_XS (type 23), which is not read; F32, F16,"
                + " Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, I8, I16, I32, I64,"
                + " F64, BF16 are: requantise the file to one of them");
    refusedBytes(edited(file, type, 4, 99)).contains("w is stored as type 99, which is not read");
  }

  @Test
  void an_alignment_that_is_no_power_of_two_is_refused() {
    refusedBytes(new TinyGguf().key("general.alignment", 48).bytes())
        .contains("general.alignment is 48, but an alignment is a power of two, 1048576 at most");
    refusedBytes(new TinyGguf().key("general.alignment", "32").bytes())
        .contains("general.alignment is 32 but must be a whole number");
  }

  @Test
  void another_alignment_is_followed() throws IOException {
    byte[] file = new TinyGguf().key("general.alignment", 64).counting("w", 2).bytes();
    byte[] moved = Arrays.copyOf(file, 192); // the header takes 90 bytes, so data at 128
    ByteBuffer.wrap(moved).order(ByteOrder.LITTLE_ENDIAN).putFloat(128, 7).putFloat(132, 8);

    try (var opened = GgufFile.open(Files.write(folder.resolve("moved.gguf"), moved));
        var _ = new PointerScope()) {
      assertThat(numbers(opened.tensor("w", ScalarType.Float))).containsExactly(7, 8);
    }
  }

  @Test
  void arrays_nested_too_deep_and_odd_values_are_refused() {
    Object nested = List.of(1);
    for (int i = 0; i < 4; i++) {
      nested = List.of(nested);
    }
    byte[] flag = new TinyGguf().key("k", true).bytes();

    refusedBytes(new TinyGguf().key("k", nested).bytes())
        .contains("k has arrays nested more than 4 deep");
    refusedBytes(edited(flag, flag.length - 1, 1, 2))
        .contains("k is a bool of value 2, but 0 and 1");
    refusedBytes(edited(flag, flag.length - 5, 4, 13))
        .contains("k has value type 13, but types are 0 to 12");
    refusedBytes(edited(new TinyGguf().key("k", "ä").bytes(), 24 + 8 + 1 + 4 + 8, 1, 0xff))
        .contains("k holds bytes that are not UTF-8");
  }

  private GgufFile open(TinyGguf file) {
    return GgufFile.open(file.write(folder));
  }

  private static AbstractStringAssert<?> refused(ThrowingCallable action) {
    return assertThatExceptionOfType(CheckpointException.class)
        .isThrownBy(action)
        .extracting(CheckpointException::getMessage)
        .asString();
  }

  /** The message that opening the file gives, without the folder. */
  private AbstractStringAssert<?> refusedBytes(byte[] bytes) {
    try {
      Path path = Files.write(folder.resolve("tiny.gguf"), bytes);
      return assertThatExceptionOfType(CheckpointException.class)
          .isThrownBy(() -> GgufFile.open(path))
          .extracting(e -> String.valueOf(e.getMessage()).replace(folder + "/", ""))
          .asString();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** A file of one key with the number of {@code size} bytes at {@code at} replaced. */
  private static byte[] edited(int at, int size, long value) {
    return edited(new TinyGguf().key("k", 1).bytes(), at, size, value);
  }

  private static byte[] edited(byte[] file, int at, int size, long value) {
    byte[] edited = file.clone();
    for (int i = 0; i < size; i++) {
      edited[at + i] = (byte) (value >> (8 * i));
    }
    return edited;
  }

  static long[] shape(Tensor tensor) {
    long[] shape = new long[(int) tensor.dim()];
    for (int i = 0; i < shape.length; i++) {
      shape[i] = tensor.size(i);
    }
    return shape;
  }

  static float[] numbers(Tensor tensor) {
    float[] numbers = new float[(int) tensor.numel()];
    tensor.data_ptr_float().get(numbers);
    return numbers;
  }
}
