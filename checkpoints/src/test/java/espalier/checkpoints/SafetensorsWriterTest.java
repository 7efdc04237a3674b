package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.arange;
import static org.bytedeco.pytorch.global.torch.empty;
import static org.bytedeco.pytorch.global.torch.ones;
import static org.bytedeco.pytorch.global.torch.zeros;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class SafetensorsWriterTest {

  @TempDir Path folder;
  private Path path;
  private PointerScope scope;

  @BeforeEach
  void open_a_scope() {
    scope = new PointerScope();
    path = folder.resolve("out.safetensors");
  }

  @AfterEach
  void close_the_scope() {
    scope.close();
  }

  private String header() throws Exception {
    byte[] all = Files.readAllBytes(path);
    int length = (int) ByteBuffer.wrap(all).order(ByteOrder.LITTLE_ENDIAN).getLong();
    return new String(all, 8, length, UTF_8);
  }

  @Test
  void the_header_is_what_the_reference_writes() throws Exception {
    var tensors = new LinkedHashMap<String, Tensor>();
    tensors.put("b", ones(2, 3));
    tensors.put("z", ones(new long[] {2}, new TensorOptions(ScalarType.BFloat16)));
    tensors.put("a", ones(1));
    tensors.put("i", ones(new long[] {1}, new TensorOptions(ScalarType.Long)));

    SafetensorsWriter.write(path, tensors);

    // i64 before f32 before bf16, then by name: the order of safetensors' own writer
    assertThat(header().strip())
        .isEqualTo(
            "{\"__metadata__\":{\"format\":\"pt\"},"
                + "\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                + "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]},"
                + "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[12,36]},"
                + "\"z\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[36,40]}}");
    assertThat(header().length() % 8).isZero();
  }

  @ParameterizedTest
  @EnumSource(
      mode = EnumSource.Mode.EXCLUDE,
      names = {"F6_E2M3", "F6_E3M2"})
  void every_dtype_comes_back_bit_for_bit(Dtype dtype) {
    byte[] bits = new byte[24];
    for (int i = 0; i < bits.length; i++) {
      bits[i] = (byte) (dtype == Dtype.BOOL ? i % 2 : 37 * i + 11);
    }
    Path raw = RawSafetensors.write(folder, "bits", bits);
    long items = 24L * 8 / Math.max(dtype.bits, 8);

    try (var from = MappedFile.open(raw)) {
      Tensor tensor = from.tensor(0, Objects.requireNonNull(dtype.scalarType), 1, items);
      SafetensorsWriter.write(path, Map.of("t", tensor));
    }

    try (var file = SafetensorsFile.open(path)) {
      assertThat(file.entry("t").dtype()).isEqualTo(dtype.name());
      assertThat(file.tensor("t").size(1)).isEqualTo(items);
    }
    assertThat(path).content(ISO_8859_1).endsWith(new String(bits, ISO_8859_1));
  }

  @Test
  void a_transposed_tensor_is_written_in_its_own_order() {
    Tensor matrix = arange(new Scalar(6)).view(2, 3).t();

    SafetensorsWriter.write(path, Map.of("t", matrix));

    try (var file = SafetensorsFile.open(path)) {
      assertThat(file.tensor("t").equal(matrix)).isTrue();
      assertThat(file.tensor("t").is_contiguous()).isTrue();
    }
  }

  @Test
  void tensors_that_share_memory_become_separate_copies() {
    Tensor matrix = ones(2, 2);

    SafetensorsWriter.write(path, Map.of("a", matrix, "b", matrix.view(4)));

    try (var file = SafetensorsFile.open(path)) {
      assertThat(file.entry("a").bytes() + file.entry("b").bytes()).isEqualTo(32);
    }
  }

  @Test
  void parameters_that_require_gradients_scalars_and_empty_tensors_are_written() {
    var tensors = new LinkedHashMap<String, Tensor>();
    tensors.put("parameter", ones(2, 2).set_requires_grad(true));
    tensors.put("scalar", ones(new long[0], new TensorOptions(ScalarType.Float)));
    tensors.put("empty", zeros(0, 5));

    SafetensorsWriter.write(path, tensors);

    try (var file = SafetensorsFile.open(path)) {
      assertThat(file.tensor("parameter").requires_grad()).isFalse();
      assertThat(file.tensor("scalar").item_float()).isEqualTo(1);
      assertThat(file.entry("empty").shape()).containsExactly(0, 5);
    }
  }

  @Test
  void a_conjugated_view_is_written_by_its_values() {
    Tensor complex = ones(new long[] {1}, new TensorOptions(ScalarType.ComplexFloat));
    Tensor turned = complex.mul(new Scalar(1)).conj();

    SafetensorsWriter.write(path, Map.of("c", turned));

    try (var file = SafetensorsFile.open(path)) {
      assertThat(file.tensor("c").equal(turned.resolve_conj())).isTrue();
    }
  }

  @Test
  void a_tensor_larger_than_a_chunk_is_written_whole() {
    Tensor large = arange(new Scalar(5_000_000)); // 40 MB of I64, chunks are 16 MiB

    SafetensorsWriter.write(path, Map.of("large", large));

    try (var file = SafetensorsFile.open(path)) {
      assertThat(file.tensor("large").equal(large)).isTrue();
    }
  }

  @Test
  void a_file_can_be_written_over_while_its_old_tensors_are_in_use() {
    SafetensorsWriter.write(path, Map.of("t", ones(2)));
    try (var old = SafetensorsFile.open(path)) {
      Tensor t = old.tensor("t");

      SafetensorsWriter.write(path, Map.of("t", t.mul(new Scalar(2f)), "u", t));

      assertThat(t.sum().item_float()).isEqualTo(2);
    }
    try (var now = SafetensorsFile.open(path)) {
      assertThat(now.tensor("t").sum().item_float()).isEqualTo(4);
    }
  }

  @Test
  void a_tensor_that_the_format_cannot_hold_is_refused_and_nothing_is_left() throws Exception {
    Tensor wide = ones(new long[] {1}, new TensorOptions(ScalarType.ComplexDouble));

    assertThatThrownBy(() -> SafetensorsWriter.write(path, Map.of("t", wide)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageStartingWith("t is ComplexDouble but safetensors files hold BOOL, F4,")
        .hasMessageEndingWith("; cast it first");
    assertThatThrownBy(() -> SafetensorsWriter.write(path, Map.of("t", ones(2).to_sparse())))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("t has no plain dense values to write; make it dense, or leave it out");
    assertThatThrownBy(() -> SafetensorsWriter.write(path, Map.of("t", new Tensor())))
        .isInstanceOf(IllegalArgumentException.class);
    assertThatThrownBy(() -> SafetensorsWriter.write(path, Map.of("__metadata__", empty(1))))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "a tensor is called '__metadata__' but a safetensors file needs another name for it");

    try (Stream<Path> left = Files.list(folder)) {
      assertThat(left).isEmpty();
    }
  }

  @Test
  void names_are_ordered_by_their_bytes_and_escaped() {
    var tensors = new LinkedHashMap<String, Tensor>();
    for (String name : List.of("\uD83D\uDE00", "\uFF5E", "a\"b\\c\n", "é")) {
      tensors.put(name, ones(1));
    }

    SafetensorsWriter.write(path, tensors);

    try (var file = SafetensorsFile.open(path)) {
      assertThat(file.entries().keySet())
          .containsExactly("a\"b\\c\n", "é", "\uFF5E", "\uD83D\uDE00");
    }
  }

  @Test
  void a_folder_that_does_not_exist_is_refused() {
    Path nowhere = folder.resolve("no/out.safetensors");

    assertThatThrownBy(() -> SafetensorsWriter.write(nowhere, Map.of("t", ones(1))))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(nowhere + " could not be written: its folder does not exist; make it first");
  }
}
