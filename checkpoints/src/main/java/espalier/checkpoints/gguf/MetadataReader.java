package espalier.checkpoints.gguf;

import java.math.BigInteger;
import java.util.Arrays;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/** Reads the keys and values of a header into Java values. */
final class MetadataReader {

  private static final int MOST_KEYS = 1 << 16;
  private static final int LONGEST_KEY = 65_535;

  /** Of all arrays together. A vocabulary of 262,144 tokens has under 2 million in all. */
  private static final int MOST_ELEMENTS = 1 << 24;

  /** Arrays within arrays are in the format, but no known key has any. */
  private static final int DEEPEST = 4;

  private static final int STRING = 8;
  private static final int ARRAY = 9;

  /** What one value of each type takes at least, in bytes. */
  private static final int[] LEAST_BYTES = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

  private final HeaderCursor in;
  private int elements;

  MetadataReader(HeaderCursor in) {
    this.in = in;
  }

  /** How many keys the header has, to be read before its count of tensors is followed. */
  int count() {
    return in.count(8 + 1 + 4 + 1, MOST_KEYS, "the number of keys");
  }

  /** All keys in file order: whole numbers as Long, f32 as Float, f64 as Double, arrays as List. */
  Map<String, Object> read(int keys) {
    Map<String, Object> values = new LinkedHashMap<>();
    for (int i = 0; i < keys; i++) {
      long start = in.at();
      String key = in.string("key %d of %d".formatted(i + 1, keys));
      if (key.isEmpty() || key.length() > LONGEST_KEY) {
        throw in.refused(
            start,
            "key %d of %d has %d characters, but a key has 1 to %d"
                .formatted(i + 1, keys, key.length(), LONGEST_KEY));
      }
      if (values.put(key, value(type(key), key, 0)) != null) {
        throw in.refused(start, "the key %s is there twice".formatted(key));
      }
    }
    return Collections.unmodifiableMap(values);
  }

  private int type(String key) {
    long start = in.at();
    int type = in.int32("the type of " + key);
    if (type < 0 || type >= LEAST_BYTES.length) {
      throw in.refused(
          start,
          "%s has value type %s, but types are 0 to %d"
              .formatted(key, Integer.toUnsignedString(type), LEAST_BYTES.length - 1));
    }
    return type;
  }

  private Object value(int type, String key, int depth) {
    return switch (type) {
      case 0 -> (long) Byte.toUnsignedInt(in.int8(key));
      case 1 -> (long) in.int8(key);
      case 2 -> (long) Short.toUnsignedInt(in.int16(key));
      case 3 -> (long) in.int16(key);
      case 4 -> Integer.toUnsignedLong(in.int32(key));
      case 5 -> (long) in.int32(key);
      case 6 -> Float.intBitsToFloat(in.int32(key));
      case 7 -> flag(key);
      case STRING -> in.string(key);
      case ARRAY -> array(key, depth);
      case 10 -> unsigned(in.int64(key));
      case 11 -> in.int64(key);
      default -> Double.longBitsToDouble(in.int64(key));
    };
  }

  private Object array(String key, int depth) {
    long start = in.at();
    if (depth == DEEPEST) {
      throw in.refused(start, "%s has arrays nested more than %d deep".formatted(key, DEEPEST));
    }
    int type = type(key);
    int count = in.count(LEAST_BYTES[type], MOST_ELEMENTS - elements, "the length of " + key);
    elements += count;
    Object[] values = new Object[count];
    for (int i = 0; i < count; i++) {
      values[i] = value(type, key, depth + 1);
    }
    return Collections.unmodifiableList(Arrays.asList(values));
  }

  private boolean flag(String key) {
    long start = in.at();
    byte flag = in.int8(key);
    if (flag != 0 && flag != 1) {
      throw in.refused(
          start, "%s is a bool of value %d, but 0 and 1 are the two".formatted(key, flag));
    }
    return flag == 1;
  }

  private static Object unsigned(long value) {
    return value >= 0 ? (Object) value : new BigInteger(Long.toUnsignedString(value));
  }
}
