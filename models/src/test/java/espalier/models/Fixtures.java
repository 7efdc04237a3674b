package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.nn.Weights;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.json.JsonMapper;

/** The models that the parity fixtures come with, and small ones drawn at random. */
final class Fixtures {

  static final Path PARITY = Path.of("..", "parity");

  private static final Map<String, Weights> WEIGHTS = new HashMap<>();

  private Fixtures() {}

  static Model model(String id) {
    return Families.build(config(id), weights(id));
  }

  static String config(String id) {
    return text(PARITY.resolve("models").resolve(id).resolve("config.json"));
  }

  /** A model's weights, read once for all tests; they must stay as they are. */
  static Weights weights(String id) {
    return WEIGHTS.computeIfAbsent(id, Fixtures::freshWeights);
  }

  /** A model's weights for a test that changes them. */
  static Weights freshWeights(String id) {
    return Safetensors.read(PARITY.resolve("models").resolve(id).resolve("model.safetensors"));
  }

  /** A file that {@code src/test/python/golden.py} made. */
  static Path golden(String file) {
    return Path.of("src", "test", "resources", "espalier", "models", file);
  }

  static Model goldenModel(String name) {
    Weights file = Safetensors.read(golden(name + ".safetensors"));
    return Families.build(text(golden(name + ".json")), file.at("weight"));
  }

  /** A fixture's config with some fields changed. */
  static Map<String, @Nullable Object> config(String id, Object... changes) {
    var fields = new LinkedHashMap<String, @Nullable Object>(map(config(id)));
    for (int i = 0; i < changes.length; i += 2) {
      fields.put((String) changes[i], changes[i + 1]);
    }
    return fields;
  }

  @SuppressWarnings("unchecked")
  static Map<String, @Nullable Object> map(String json) {
    return JsonMapper.shared().readValue(json, Map.class);
  }

  static String text(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static Tensor ids(long[]... rows) {
    var all = new long[rows.length * rows[0].length];
    for (int i = 0; i < rows.length; i++) {
      System.arraycopy(rows[i], 0, all, i * rows[0].length, rows[0].length);
    }
    return Tensor.create(all, rows.length, rows[0].length);
  }

  static double distance(Tensor a, Tensor b) {
    assertThat(a.shape()).isEqualTo(b.shape());
    return a.sub(b).abs().max().item_double();
  }

  static double largest(Tensor t) {
    return t.abs().max().item_double();
  }
}
