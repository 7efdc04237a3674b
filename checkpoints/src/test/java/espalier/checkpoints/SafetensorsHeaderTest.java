package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SafetensorsHeaderTest {

  private static final String DOWNLOAD = "; the file was cut short, copy or download it again";

  @TempDir Path folder;

  private void refused(Path path, String message) {
    assertThatThrownBy(() -> SafetensorsFile.open(path).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessage(path + message);
  }

  private void refused(byte[] content, String message) {
    refused(RawSafetensors.write(folder, "model.safetensors", content), message);
  }

  private void refused(String header, int dataLength, String message) {
    refused(RawSafetensors.write(folder, header, dataLength), message);
  }

  @Test
  void a_truncated_file_is_refused_with_its_size() {
    refused(
        new byte[5],
        ": the file has 5 bytes but begins with an 8-byte length if it is safetensors; it was cut"
            + " short, copy or download it again");
    refused(
        new byte[0],
        ": the file is empty; copy or download it again, a copy may have been cut short");
  }

  @Test
  void a_header_longer_than_the_file_is_refused() {
    byte[] content = RawSafetensors.bytes("{}", new byte[3]);
    content[0] = 99;

    refused(content, ", byte 0: the header's length reads 99 but only 5 bytes follow" + DOWNLOAD);
  }

  @Test
  void a_header_of_absurd_length_is_refused() {
    byte[] huge =
        ByteBuffer.allocate(24).order(ByteOrder.LITTLE_ENDIAN).putLong(100_000_001).array();
    byte[] negative = ByteBuffer.allocate(24).order(ByteOrder.LITTLE_ENDIAN).putLong(-1).array();

    refused(
        huge,
        ", byte 0: the header's length reads 100000001 but at most 100000000 is allowed; this is no"
            + " safetensors file, or it is damaged; copy or download it again");
    refused(
        negative,
        ", byte 0: the header's length reads 18446744073709551615 but at most 100000000 is allowed;"
            + " this is no safetensors file, or it is damaged; copy or download it again");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          version https://git-lfs | this is a Git LFS pointer, not the file itself; run git lfs pull
          GGUFxxxxxx | this is a GGUF file; give it the ending .gguf
          <!DOCTYPE html> | this is a web page, perhaps of a login or an error; download the file itself
          PK\3\4xxxxxxx | this is a zip as torch.save writes it; convert it to safetensors in Python (torch.load with weights_only=True, then safetensors.torch.save_file)
          \u0080\2}qxxxxxx | this is a pickle; convert it to safetensors in Python (torch.load with weights_only=True, then safetensors.torch.save_file)
          """)
  void another_kind_of_file_is_recognised(String content, String hint) {
    Path path = RawSafetensors.write(folder, "model.safetensors", content.getBytes(ISO_8859_1));

    assertThatThrownBy(() -> SafetensorsFile.open(path).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(path + ", byte 0: the header's length reads ")
        .hasMessageEndingWith("; " + hint);
  }

  @Test
  void a_header_that_is_not_utf8_is_refused_with_the_byte() {
    byte[] header = "{\"aé\":1}".getBytes(ISO_8859_1);

    refused(
        RawSafetensors.bytes(header, new byte[0]),
        ", byte 11: the header is not valid UTF-8 here; the file is damaged, copy or download it"
            + " again");
  }

  @Test
  void a_header_that_is_no_json_object_is_refused() {
    refused(
        " {}",
        0,
        ", byte 8: the header does not begin with '{' as the format demands; the file is damaged,"
            + " copy or download it again");
    refused("{} {}", 0, ", byte 11: more follows after the header's closing brace");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          {"a":
          {"a":{"dtype":"F32"
          {'a':1}
          {"a":{"dtype":"F32","shape":[1,],"data_offsets":[0,4]}}
          {"a":{"dtype":"F32","shape":[01],"data_offsets":[0,4]}}
          {"a":NaN}
          """)
  void a_header_that_is_not_json_is_refused(String header) {
    Path path = RawSafetensors.write(folder, header, 4);

    assertThatThrownBy(() -> SafetensorsFile.open(path).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessageMatching(
            "(?s)\\Q"
                + path
                + "\\E, byte \\d+: (the header is not valid JSON: .*|a must be an object.*)");
  }

  @Test
  void what_is_there_twice_is_refused() {
    String a = "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}";
    String unknowable = " is there twice; which one counts cannot be known";

    refused("{" + a + "," + a + "}", 1, ", byte 61: a" + unknowable);
    refused("{\"a\":{\"dtype\":\"U8\",\"dtype\":\"I8\"}}", 1, ", byte 27: a.dtype" + unknowable);
    refused(
        "{\"__metadata__\":{\"x\":\"1\",\"x\":\"2\"}}",
        0,
        ", byte 37: __metadata__.x" + unknowable);
    refused("{\"__metadata__\":{},\"__metadata__\":{}}", 0, ", byte 27: __metadata__" + unknowable);
  }

  @Test
  void a_header_of_great_depth_is_refused_without_a_stack_overflow() {
    refused(
        "{\"a\":" + "[".repeat(1_000_000),
        0,
        ", byte 13: a must be an object of dtype, shape and data_offsets");
    refused(
        "{\"a\":{\"x\":" + "{\"x\":".repeat(200_000), 0, ", byte 14: a has the unknown field x");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          "F31" | [1] | [0,4] | , byte 22: a.dtype is F31 but known are BOOL, F4, F6_E2M3, F6_E3M2, U8, I8, F8_E5M2, F8_E4M3, F8_E8M0, F8_E4M3FNUZ, F8_E5M2FNUZ, I16, U16, F16, BF16, I32, U32, F32, C64, F64, I64, U64
          7     | [1] | [0,4] | , byte 22: a.dtype must be a string
          "F32" | 1 | [0,4] | , byte 36: a.shape must be an array of whole numbers
          "F32" | [1.0] | [0,4] | , byte 37: a.shape must hold whole numbers only
          "F32" | ["1"] | [0,4] | , byte 37: a.shape must hold whole numbers only
          "F32" | [-0] | [0,0] | , byte 37: a.shape holds -0 but 0 is the least
          "F32" | [-1] | [0,4] | , byte 37: a.shape holds -1 but 0 is the least
          "F32" | [99999999999999999999] | [0,4] | , byte 37: a.shape holds 99999999999999999999, which is beyond 2^63
          "F32" | [4611686018427387904,4] | [0,4] | , byte 13: a is F32 [4611686018427387904, 4], which is more than can be counted
          "F32" | [4611686018427387904,4,0] | [0,0] | , byte 13: a is F32 [4611686018427387904, 4, 0], which is more than can be counted
          "F32" | [2] | [0,4] | , byte 13: a is F32 [2], which takes 8 bytes, but data_offsets [0, 4] span 4
          "F32" | [1] | [0] | , byte 57: a.data_offsets must be [begin, end]
          "F32" | [1] | [0,4,8] | , byte 60: a.data_offsets has more than 2 numbers
          "F32" | [1] | [4,0] | , byte 59: a.data_offsets [4, 0] end before they begin
          "F32" | [1] | [-4,0] | , byte 56: a.data_offsets holds -4 but 0 is the least
          "F4" | [3] | [0,2] | , byte 13: a is F4 [3], which does not fill whole bytes
          """)
  void an_entry_that_makes_no_sense_is_refused_with_its_byte(
      String dtype, String shape, String offsets, String message) {
    refused(
        "{\"a\":{\"dtype\":%s,\"shape\":%s,\"data_offsets\":%s}}".formatted(dtype, shape, offsets),
        4,
        message);
  }

  @Test
  void an_entry_that_lacks_a_field_is_refused() {
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, ", byte 13: a has no data_offsets");
    refused("{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, ", byte 13: a has no shape");
    refused("{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, ", byte 13: a has no dtype");
  }

  @Test
  void more_dimensions_than_libtorch_can_take_are_refused() {
    String ones = "1" + ",1".repeat(64);

    refused(
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[" + ones + "],\"data_offsets\":[0,1]}}",
        1,
        ", byte 164: a.shape has more than 64 numbers");
  }

  @Test
  void metadata_other_than_strings_are_refused() {
    refused(
        "{\"__metadata__\":{\"n\":1}}",
        0,
        ", byte 29: __metadata__ must hold strings only, but n is none");
    refused("{\"__metadata__\":[]}", 0, ", byte 24: __metadata__ must be an object of strings");
  }

  private static String entry(String name, long begin, long end) {
    return "\"%s\":{\"dtype\":\"U8\",\"shape\":[%d],\"data_offsets\":[%d,%d]}"
        .formatted(name, end - begin, begin, end);
  }

  private static String header(String... entries) {
    String text = "{" + String.join(",", entries) + "}";
    return text + " ".repeat(200 - text.length());
  }

  @Test
  void data_beyond_the_file_are_refused() {
    refused(
        header(entry("a", 0, 10)),
        4,
        ", byte 212: the file ends here, but a lacks 6 bytes more; it was cut short, copy or"
            + " download it again");
  }

  @Test
  void overlapping_tensors_are_refused() {
    refused(
        header(entry("a", 0, 10), entry("b", 8, 12)),
        12,
        ", byte 216: b begins here, but a ends at byte 218 only; no two tensors may overlap");
  }

  @Test
  void bytes_that_belong_to_no_tensor_are_refused() {
    String end = " belong to no tensor; the header and the data are not of one file";

    refused(header(entry("a", 2, 10)), 10, ", byte 208: 2 bytes after the header" + end);
    refused(header(entry("a", 0, 4), entry("b", 5, 10)), 10, ", byte 212: 1 byte after a" + end);
    refused(header(entry("a", 0, 4)), 10, ", byte 212: 6 bytes after a" + end);
  }

  @Test
  void an_error_in_a_tensor_with_a_foreign_name_gives_the_byte_and_not_the_letter() {
    refused(
        "{\"é😀\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,2]}}",
        2,
        ", byte %d: é😀 is U8 [1], which takes 1 bytes, but data_offsets [0, 2] span 2"
            .formatted(8 + "{\"é😀\":".getBytes(UTF_8).length));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{\"a\\ud800\":{}}",
        "{\"a\\udc00\":{}}",
        "{\"__metadata__\":{\"x\":\"\\ud800\"}}",
        "{\"__metadata__\":{\"x\":\"\\udc00\"}}",
        "{\"__metadata__\":{\"\\udc00\":\"x\"}}"
      })
  void half_a_surrogate_pair_is_refused(String header) {
    Path path = RawSafetensors.write(folder, header, 0);

    assertThatThrownBy(() -> SafetensorsFile.open(path).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("surrogate");
  }

  @Test
  void a_name_may_hold_any_letters() {
    String header = "{" + entry("é😀\\u0041 \\\"", 0, 1) + "}";

    try (var file = SafetensorsFile.open(RawSafetensors.write(folder, header, 1))) {
      assertThat(file.entries()).containsOnlyKeys("é😀A \"");
    }
  }
}
