package espalier.checkpoints.gguf;

import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** The formats by the numbers that files give them. */
final class BlockFormats {

  private static final Map<Integer, BlockFormat> READ =
      new TreeMap<>(
          Map.ofEntries(
              Map.entry(0, PlainFormat.F32),
              Map.entry(1, PlainFormat.F16),
              Map.entry(2, new Q4_0()),
              Map.entry(3, new Q4_1()),
              Map.entry(6, new Q5_0()),
              Map.entry(7, new Q5_1()),
              Map.entry(8, new Q8_0()),
              Map.entry(10, new Q2_K()),
              Map.entry(11, new Q3_K()),
              Map.entry(12, new Q4_K()),
              Map.entry(13, new Q5_K()),
              Map.entry(14, new Q6_K()),
              Map.entry(24, PlainFormat.I8),
              Map.entry(25, PlainFormat.I16),
              Map.entry(26, PlainFormat.I32),
              Map.entry(27, PlainFormat.I64),
              Map.entry(28, PlainFormat.F64),
              Map.entry(30, PlainFormat.BF16)));

  /** Formats that exist but are not read; 4, 5, 31-33 and 36-38 were withdrawn. */
  private static final Map<Integer, String> UNREAD =
      Map.ofEntries(
          Map.entry(4, "Q4_2"),
          Map.entry(5, "Q4_3"),
          Map.entry(9, "Q8_1"),
          Map.entry(15, "Q8_K"),
          Map.entry(16, "IQ2_XXS"),
          Map.entry(17, "IQ2_XS"),
          Map.entry(18, "IQ3_XXS"),
          Map.entry(19, "IQ1_S"),
          Map.entry(20, "IQ4_NL"),
          Map.entry(21, "IQ3_S"),
          Map.entry(22, "IQ2_S"),
          Map.entry(23, "IQ4_XS"),
          Map.entry(29, "IQ1_M"),
          Map.entry(31, "Q4_0_4_4"),
          Map.entry(32, "Q4_0_4_8"),
          Map.entry(33, "Q4_0_8_8"),
          Map.entry(34, "TQ1_0"),
          Map.entry(35, "TQ2_0"),
          Map.entry(36, "IQ4_NL_4_4"),
          Map.entry(37, "IQ4_NL_4_8"),
          Map.entry(38, "IQ4_NL_8_8"),
          Map.entry(39, "MXFP4"),
          Map.entry(40, "NVFP4"),
          Map.entry(41, "Q1_0"));

  private BlockFormats() {}

  /** The format of that number; null if it is unknown or not read. */
  static @Nullable BlockFormat find(int id) {
    return READ.get(id);
  }

  /** The number with its name, if it has one, for a message. */
  static String describe(int id) {
    String name = UNREAD.get(id);
    String number = "type " + Integer.toUnsignedString(id);
    return name == null ? number : "%s (%s)".formatted(name, number);
  }

  /** The names of all formats that are read, for a message. */
  static String names() {
    return READ.values().stream().map(BlockFormat::name).collect(Collectors.joining(", "));
  }
}
