package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;

import espalier.checkpoints.TensorFile.Entry;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;
import tools.jackson.core.TokenStreamLocation;

/**
 * Reads the header's JSON by hand, token by token: only this shape is let through, nothing is ever
 * skipped, so neither depth nor size of the JSON can do harm, and each error knows its byte.
 */
final class SafetensorsHeaderParser {

  /** Tensor iterators of libtorch take no more. */
  private static final int MAX_DIMENSIONS = 64;

  /** What the JSON says, before it is known whether the data agree. */
  record Parsed(Map<String, Entry> entries, Map<String, String> metadata) {}

  private final Path path;
  private final String json;
  private final JsonParser parser;
  private final Map<String, Entry> entries = new LinkedHashMap<>();
  private @Nullable Map<String, String> metadata;

  private SafetensorsHeaderParser(Path path, String json, JsonParser parser) {
    this.path = path;
    this.json = json;
    this.parser = parser;
  }

  static Parsed parse(Path path, String json) {
    if (!json.startsWith("{")) {
      throw CheckpointException.at(
          path,
          8,
          "the header does not begin with '{' as the format demands; the file is damaged, copy or"
              + " download it again");
    }
    try (JsonParser parser = StrictJson.parser(json)) {
      return new SafetensorsHeaderParser(path, json, parser).file();
    } catch (JacksonException e) {
      TokenStreamLocation where = e.getLocation();
      throw new CheckpointException(
          ("%s, byte %d: the header is not valid JSON: %s; the file is damaged, copy or"
                  + " download it again")
              .formatted(path, offset(json, where), e.getOriginalMessage()),
          e);
    }
  }

  private Parsed file() {
    parser.nextToken();
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String name = whole(parser.currentName());
      if (name.equals("__metadata__")) {
        if (metadata != null) {
          throw twice(name);
        }
        metadata = strings();
      } else {
        if (entries.containsKey(name)) {
          throw twice(name);
        }
        entries.put(name, entry(name));
      }
    }
    if (parser.nextToken() != null) {
      throw here("more follows after the header's closing brace");
    }
    return new Parsed(entries, metadata == null ? Map.of() : metadata);
  }

  private Map<String, String> strings() {
    if (parser.nextToken() != JsonToken.START_OBJECT) {
      throw here("__metadata__ must be an object of strings");
    }
    var strings = new LinkedHashMap<String, String>();
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String key = whole(parser.currentName());
      if (parser.nextToken() != JsonToken.VALUE_STRING) {
        throw here("__metadata__ must hold strings only, but %s is none".formatted(key));
      }
      if (strings.put(key, whole(parser.getString())) != null) {
        throw twice("__metadata__." + key);
      }
    }
    return strings;
  }

  private Entry entry(String name) {
    if (parser.nextToken() != JsonToken.START_OBJECT) {
      throw here("%s must be an object of dtype, shape and data_offsets".formatted(name));
    }
    long start = offset();
    Dtype dtype = null;
    long[] shape = null;
    long[] offsets = null;
    Set<String> seen = new HashSet<>();
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      String field = parser.currentName();
      if (!seen.add(field)) {
        throw twice(name + "." + field);
      }
      switch (field) {
        case "dtype" -> dtype = dtype(name);
        case "shape" -> shape = numbers(name + ".shape", MAX_DIMENSIONS);
        case "data_offsets" -> offsets = offsets(name);
        default -> throw here("%s has the unknown field %s".formatted(name, field));
      }
    }
    if (dtype == null || shape == null || offsets == null) {
      String lacking = dtype == null ? "dtype" : shape == null ? "shape" : "data_offsets";
      throw CheckpointException.at(path, start, "%s has no %s".formatted(name, lacking));
    }
    long bytes = bytes(name, dtype, shape, start);
    if (offsets[1] - offsets[0] != bytes) {
      throw CheckpointException.at(
          path,
          start,
          "%s is %s %s, which takes %d bytes, but data_offsets [%d, %d] span %d"
              .formatted(
                  name,
                  dtype,
                  Arrays.toString(shape),
                  bytes,
                  offsets[0],
                  offsets[1],
                  offsets[1] - offsets[0]));
    }
    return new Entry(dtype.name(), shape, offsets[0], offsets[1]);
  }

  private Dtype dtype(String name) {
    if (parser.nextToken() != JsonToken.VALUE_STRING) {
      throw here("%s.dtype must be a string".formatted(name));
    }
    Dtype dtype = Dtype.named(parser.getString());
    if (dtype == null) {
      throw here(
          "%s.dtype is %s but known are %s"
              .formatted(name, shortened(parser.getString()), Dtype.names()));
    }
    return dtype;
  }

  private long[] offsets(String name) {
    long[] offsets = numbers(name + ".data_offsets", 2);
    if (offsets.length != 2) {
      throw here("%s.data_offsets must be [begin, end]".formatted(name));
    }
    if (offsets[0] > offsets[1]) {
      throw here(
          "%s.data_offsets [%d, %d] end before they begin".formatted(name, offsets[0], offsets[1]));
    }
    return offsets;
  }

  /** An array of whole numbers, none negative. */
  private long[] numbers(String what, int most) {
    if (parser.nextToken() != JsonToken.START_ARRAY) {
      throw here("%s must be an array of whole numbers".formatted(what));
    }
    long[] numbers = new long[most];
    int count = 0;
    while (parser.nextToken() != JsonToken.END_ARRAY) {
      if (parser.currentToken() != JsonToken.VALUE_NUMBER_INT) {
        throw here("%s must hold whole numbers only".formatted(what));
      }
      if (count == most) {
        throw here("%s has more than %d numbers".formatted(what, most));
      }
      if (parser.getNumberType() == JsonParser.NumberType.BIG_INTEGER) {
        throw here(
            "%s holds %s, which is beyond 2^63".formatted(what, shortened(parser.getString())));
      }
      long number = parser.getLongValue();
      if (parser.getString().startsWith("-")) { // the reference takes no -0 either
        throw here("%s holds %s but 0 is the least".formatted(what, parser.getString()));
      }
      numbers[count++] = number;
    }
    return Arrays.copyOf(numbers, count);
  }

  private long bytes(String name, Dtype dtype, long[] shape, long start) {
    try {
      // Zeros are left out at first: strides are products too, and must not overflow either.
      long most = dtype.bits;
      long bits = dtype.bits;
      for (long size : shape) {
        most = Math.multiplyExact(most, Math.max(size, 1));
        bits = Math.multiplyExact(bits, size);
      }
      boolean halves = dtype == Dtype.F4 && (shape.length == 0 || shape[shape.length - 1] % 2 != 0);
      if (bits % 8 != 0 || halves) {
        throw CheckpointException.at(
            path,
            start,
            "%s is %s %s, which does not fill whole bytes"
                .formatted(name, dtype, Arrays.toString(shape)));
      }
      return bits / 8;
    } catch (ArithmeticException _) {
      throw CheckpointException.at(
          path,
          start,
          "%s is %s %s, which is more than can be counted"
              .formatted(name, dtype, Arrays.toString(shape)));
    }
  }

  private CheckpointException twice(String name) {
    return here("%s is there twice; which one counts cannot be known".formatted(name));
  }

  private CheckpointException here(String problem) {
    return CheckpointException.at(path, offset(), problem);
  }

  private long offset() {
    return offset(json, parser.currentTokenLocation());
  }

  /** The byte of the file at which a place of the header's text lies. */
  private static long offset(String json, @Nullable TokenStreamLocation location) {
    long chars = location == null ? 0 : location.getCharOffset();
    int end = Math.toIntExact(Math.clamp(chars, 0, json.length()));
    return 8L + json.substring(0, end).getBytes(UTF_8).length;
  }

  /** Refuses half a surrogate pair, which JSON can spell but no file could be written with. */
  private String whole(String text) {
    if (!UTF_8.newEncoder().canEncode(text)) {
      throw here("the text here is no valid Unicode; half a surrogate pair is in it");
    }
    return text;
  }

  private static String shortened(String text) {
    return text.length() <= 40 ? text : text.substring(0, 40) + "…";
  }
}
