package espalier.checkpoints;

import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.util.Map.entry;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.checkpoints.TensorFile.Entry;
import java.lang.foreign.Arena;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class SafetensorsFileTest {

  private static final String TWO =
      "{\"__metadata__\":{\"format\":\"pt\"},"
          + "\"b\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]},"
          + "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[16,20]}}";

  @TempDir Path folder;

  private Path two() {
    String header = TWO + " ".repeat((8 - TWO.length() % 8) % 8);
    return RawSafetensors.write(
        folder,
        "two.safetensors",
        RawSafetensors.bytes(header, RawSafetensors.floats(1, 2, 3, 4, 5)));
  }

  @Test
  void a_file_tells_its_tensors_and_metadata_in_the_order_of_the_data() {
    try (var file = SafetensorsFile.open(two())) {
      assertThat(file.entries())
          .containsExactly(
              entry("b", new Entry("F32", new long[] {2, 2}, 0, 16)),
              entry("a", new Entry("F32", new long[] {}, 16, 20)));
      assertThat(file.metadata()).containsExactly(entry("format", "pt"));
      assertThat(file.contains("a")).isTrue();
      assertThat(file.contains("c")).isFalse();
    }
  }

  @Test
  void a_tensor_has_the_values_of_the_file() {
    try (var _ = new PointerScope();
        var file = SafetensorsFile.open(two())) {
      Tensor b = file.tensor("b");
      Tensor a = file.tensor("a");

      assertThat(b.size(0)).isEqualTo(2);
      assertThat(b.get(1).get(0).item_float()).isEqualTo(3);
      assertThat(a.dim()).isZero();
      assertThat(a.item_float()).isEqualTo(5);
    }
  }

  @Test
  void an_aligned_tensor_lies_in_the_file_and_is_not_copied() {
    try (var _ = new PointerScope();
        var file = SafetensorsFile.open(two())) {
      Tensor once = file.tensor("b");
      Tensor again = file.tensor("b");

      assertThat(once).isNotSameAs(again);
      assertThat(once.data_ptr().address()).isEqualTo(again.data_ptr().address());
    }
  }

  @Test
  void writing_to_a_tensor_leaves_the_file_as_it_is() throws Exception {
    Path path = two();
    byte[] before = Files.readAllBytes(path);

    try (var _ = new PointerScope();
        var file = SafetensorsFile.open(path)) {
      Tensor b = file.tensor("b");
      b.fill_(new Scalar(9f));

      assertThat(b.get(0).get(0).item_float()).isEqualTo(9);
    }

    assertThat(Files.readAllBytes(path)).isEqualTo(before);
  }

  @Test
  void an_unaligned_tensor_is_copied_and_right() {
    String header =
        "{\"byte\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
            + "\"wide\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[1,17]}}";
    var data = ByteBuffer.allocate(17).order(ByteOrder.LITTLE_ENDIAN);
    data.put((byte) 7).putDouble(0.5).putDouble(-2);
    Path path =
        RawSafetensors.write(folder, "odd.safetensors", RawSafetensors.bytes(header, data.array()));

    try (var _ = new PointerScope();
        var file = SafetensorsFile.open(path)) {
      Tensor wide = file.tensor("wide");

      assertThat(wide.data_ptr().address() % 8).isZero();
      assertThat(wide.get(0).item_double()).isEqualTo(0.5);
      assertThat(wide.get(1).item_double()).isEqualTo(-2);
    }
  }

  @ParameterizedTest
  @EnumSource
  void every_dtype_is_read_as_libtorchs_type_or_refused_by_name(Dtype dtype) {
    int bytes = 4 * dtype.bits / 8;
    String header =
        "{\"t\":{\"dtype\":\"%s\",\"shape\":[1,4],\"data_offsets\":[0,%d]}}"
            .formatted(dtype, bytes);
    Path path = RawSafetensors.write(folder, header, bytes);

    try (var _ = new PointerScope();
        var file = SafetensorsFile.open(path)) {
      if (dtype.scalarType == null) {
        assertThatThrownBy(() -> file.tensor("t"))
            .isInstanceOf(CheckpointException.class)
            .hasMessage(
                path
                    + ": t is "
                    + dtype
                    + ", a number type that libtorch cannot hold; store it as F8_E4M3 or BF16");
      } else {
        Tensor t = file.tensor("t");
        assertThat(t.scalar_type().intern()).isEqualTo(dtype.scalarType);
        assertThat(t.nbytes()).isEqualTo(bytes);
        assertThat(t.size(1)).isEqualTo(dtype == Dtype.F4 ? 2 : 4);
      }
    }
  }

  @Test
  void numbers_of_each_kind_are_read_right() {
    String header =
        "{\"bool\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[0,1]},"
            + "\"i8\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[1,2]},"
            + "\"bf16\":{\"dtype\":\"BF16\",\"shape\":[1],\"data_offsets\":[2,4]},"
            + "\"f16\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[4,6]},"
            + "\"i64\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[6,14]},"
            + "\"f8\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[14,15]}}";
    var data = ByteBuffer.allocate(15).order(ByteOrder.LITTLE_ENDIAN);
    data.put((byte) 1).put((byte) -3).putShort((short) 0x3FC0).putShort((short) 0x3E00).putLong(-5);
    data.put((byte) 0x3C);
    Path path =
        RawSafetensors.write(folder, "all.safetensors", RawSafetensors.bytes(header, data.array()));

    try (var _ = new PointerScope();
        var file = SafetensorsFile.open(path)) {
      assertThat(file.tensor("bool").item_bool()).isTrue();
      assertThat(file.tensor("i8").item_byte()).isEqualTo((byte) -3);
      assertThat(file.tensor("bf16").to(ScalarType.Float).item_float()).isEqualTo(1.5f);
      assertThat(file.tensor("f16").to(ScalarType.Float).item_float()).isEqualTo(1.5f);
      assertThat(file.tensor("i64").item_long()).isEqualTo(-5);
      assertThat(file.tensor("f8").to(ScalarType.Float).item_float()).isEqualTo(1.5f);
    }
  }

  @Test
  void tensors_without_elements_are_read() {
    String header = "{\"none\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[0,0]}}";

    try (var _ = new PointerScope();
        var file = SafetensorsFile.open(RawSafetensors.write(folder, header, 0))) {
      Tensor none = file.tensor("none");

      assertThat(none.numel()).isZero();
      assertThat(none.size(1)).isEqualTo(3);
    }
  }

  @Test
  void a_file_without_tensors_is_a_file() {
    try (var file = SafetensorsFile.open(RawSafetensors.write(folder, "{}", 0))) {
      assertThat(file.entries()).isEmpty();
      assertThat(file.metadata()).isEmpty();
    }
  }

  @Test
  void a_missing_tensor_is_refused_with_the_nearest_name() {
    Path path = two();

    try (var file = SafetensorsFile.open(path)) {
      assertThatThrownBy(() -> file.tensor("bb"))
          .isInstanceOf(CheckpointException.class)
          .hasMessage(path + ": there is no tensor bb; nearest of its 2 is b");
    }
  }

  @Test
  void a_closed_file_gives_no_more_tensors() {
    Path path = two();
    var file = SafetensorsFile.open(path);
    file.close();
    file.close();

    assertThatThrownBy(() -> file.tensor("a"))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage(
            path + " is closed; read its tensors before, they outlive the file by themselves");
  }

  @Test
  void a_missing_file_and_a_folder_are_refused_in_plain_words() {
    assertThatThrownBy(() -> SafetensorsFile.open(folder.resolve("no.safetensors")))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(folder.resolve("no.safetensors") + ": there is no such file; check the path");
    assertThatThrownBy(() -> SafetensorsFile.open(folder))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(folder + ": this is a folder, and a file was expected");
  }

  @Test
  void a_file_that_may_only_be_read_is_mapped_all_the_same() throws Exception {
    Path path = two();

    try (Arena arena = Arena.ofConfined()) {
      var mapped = PosixMapping.of(path, Files.size(path), arena);
      if (mapped == null) { // Windows
        return;
      }
      byte first = mapped.get(JAVA_BYTE, 0);
      mapped.set(JAVA_BYTE, 0, (byte) (first + 1));

      assertThat(Files.readAllBytes(path)[0]).isEqualTo(first);
      assertThat(mapped.asSlice(8, 1).get(JAVA_BYTE, 0)).isEqualTo((byte) '{');
    }
  }

  @Test
  void where_nothing_can_be_mapped_the_file_is_read() throws Exception {
    Path path = two();

    try (Arena arena = Arena.ofConfined();
        var channel = FileChannel.open(path)) {
      var copy = PrivateMapping.copy(channel, channel.size(), arena);

      assertThat(copy.toArray(JAVA_BYTE)).isEqualTo(Files.readAllBytes(path));
    }
  }
}
