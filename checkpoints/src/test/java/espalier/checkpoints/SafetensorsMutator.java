package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;

/** Makes broken and hostile files out of a valid one; the same seed makes the same files. */
final class SafetensorsMutator {

  private static final String HEADER =
      "{\"__metadata__\":{\"format\":\"pt\",\"by\":\"tests\"},"
          + "\"model.a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
          + "\"model.b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]},"
          + "\"model.c\":{\"dtype\":\"I64\",\"shape\":[1,1,1],\"data_offsets\":[32,40]},"
          + "\"model.d\":{\"dtype\":\"BOOL\",\"shape\":[8],\"data_offsets\":[40,48]},"
          + "\"model.e\":{\"dtype\":\"C64\",\"shape\":[],\"data_offsets\":[48,56]},"
          + "\"model.f\":{\"dtype\":\"F4\",\"shape\":[2,4],\"data_offsets\":[56,60]},"
          + "\"model.g\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],\"data_offsets\":[60,64]},"
          + "\"model.h\":{\"dtype\":\"U16\",\"shape\":[0,7],\"data_offsets\":[64,64]}}";

  private static final List<String> NUMBERS =
      List.of(
          "0",
          "1",
          "-1",
          "3",
          "7",
          "23",
          "25",
          "48",
          "63",
          "64",
          "65",
          "1e3",
          "1.5",
          "-0",
          "00",
          "2147483647",
          "2147483648",
          "4294967296",
          "4611686018427387904",
          "9223372036854775807",
          "9223372036854775808",
          "-9223372036854775808",
          "18446744073709551615",
          "9".repeat(40),
          "9".repeat(2000),
          "null",
          "true",
          "\"1\"",
          "[]",
          "{}",
          "NaN",
          "");

  private static final List<String> PIECES =
      List.of(
          "{",
          "}",
          "[",
          "]",
          ",",
          ":",
          "\"",
          "\\",
          "\\u0000",
          "\\ud800",
          "\0",
          "\n",
          "é",
          "\uFEFF",
          "\"model.a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},",
          "\"__metadata__\":{},",
          "\"__metadata__\":null,",
          "\"x\":1,",
          "\"dtype\":\"F32\",",
          "\"shape\":[1],",
          "\"strides\":[1],",
          "[".repeat(5000),
          "{\"a\":".repeat(3000),
          "\"" + "n".repeat(60_000) + "\":{},");

  private static final List<String> DTYPES =
      List.of(
          "BOOL",
          "F4",
          "F6_E2M3",
          "F6_E3M2",
          "U8",
          "F8_E5M2",
          "I16",
          "F16",
          "U32",
          "F64",
          "U64",
          "C64",
          "C128",
          "f32",
          "float32",
          "",
          "F32\\u0000");

  private final Random random;

  SafetensorsMutator(long seed) {
    random = new Random(seed);
  }

  static byte[] valid() {
    byte[] data = new byte[64];
    for (int i = 0; i < data.length; i++) {
      data[i] = (byte) (i * 31 % 2);
    }
    return RawSafetensors.bytes(HEADER + " ".repeat((8 - HEADER.length() % 8) % 8), data);
  }

  byte[] next() {
    return switch (random.nextInt(8)) {
      case 0 -> flipped(1 + random.nextInt(4));
      case 1 -> Arrays.copyOf(valid(), random.nextInt(valid().length));
      case 2 -> length();
      case 3 -> edited(header -> replaced(header, "-?\\d+(?=[,\\]])", pick(NUMBERS)));
      case 4 -> edited(header -> replaced(header, "(?<=dtype\":\")\\w+", pick(DTYPES)));
      case 5 -> edited(this::inserted);
      case 6 -> edited(this::cut);
      default ->
          edited(
              header ->
                  replaced(
                      replaced(header, "\\d+(?=[,\\]])", pick(NUMBERS)),
                      "\\d+(?=[,\\]])",
                      pick(NUMBERS)));
    };
  }

  private byte[] flipped(int times) {
    byte[] file = valid();
    for (int i = 0; i < times; i++) {
      file[random.nextInt(file.length)] ^= (byte) (1 << random.nextInt(8));
    }
    return file;
  }

  /** A wrong length of the header, near the right one or far from it. */
  private byte[] length() {
    byte[] file = valid();
    ByteBuffer buffer = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
    long right = buffer.getLong(0);
    buffer.putLong(
        0,
        switch (random.nextInt(4)) {
          case 0 -> right + random.nextInt(-20, 20);
          case 1 -> random.nextInt(file.length + 8);
          case 2 -> random.nextLong();
          default -> 1L << random.nextInt(64);
        });
    return file;
  }

  /** The file with another header, whose length is then right; the data stay or are cut or grow. */
  private byte[] edited(UnaryOperator<String> edit) {
    byte[] data = Arrays.copyOfRange(valid(), valid().length - 64, valid().length);
    if (random.nextInt(8) == 0) {
      data = Arrays.copyOf(data, random.nextInt(128));
    }
    return RawSafetensors.bytes(edit.apply(HEADER).getBytes(UTF_8), data);
  }

  private String replaced(String header, String regex, String by) {
    var matches = Pattern.compile(regex).matcher(header).results().toList();
    if (matches.isEmpty()) {
      return header;
    }
    var match = pick(matches);
    return header.substring(0, match.start()) + by + header.substring(match.end());
  }

  private String inserted(String header) {
    int at = random.nextInt(header.length() + 1);
    return header.substring(0, at) + pick(PIECES) + header.substring(at);
  }

  private String cut(String header) {
    int from = random.nextInt(header.length());
    int to = Math.min(header.length(), from + 1 + random.nextInt(40));
    return header.substring(0, from) + header.substring(to);
  }

  private <T> T pick(List<T> list) {
    return list.get(random.nextInt(list.size()));
  }
}
