package espalier.parity;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.SafetensorsFile;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * The golden numbers of HiRA-SB: a JSON file of cases and a safetensors file of their matrices. The
 * project's own, or those of {@code -Dhirasb.golden=DIR}; a relative DIR counts from where the
 * build was started.
 *
 * @param facts the JSON
 * @param tensors the matrices in float64
 */
record HiraSbGolden(JsonNode facts, SafetensorsFile tensors) implements AutoCloseable {

  private static final String NAME = "hira-sb-golden";
  private static final Pattern SWEEPS = Pattern.compile("als(\\d+)\\..*");

  static HiraSbGolden open() {
    Path folder = folder();
    return new HiraSbGolden(
        new JsonMapper().readTree(folder.resolve(NAME + ".json").toFile()),
        SafetensorsFile.open(folder.resolve(NAME + ".safetensors")));
  }

  private static Path folder() {
    String asked = System.getProperty("hirasb.golden", "").strip();
    if (asked.isEmpty()) {
      try {
        return Path.of(
            Objects.requireNonNull(HiraSbGolden.class.getResource("/espalier/parity/hirasb/"))
                .toURI());
      } catch (URISyntaxException e) {
        throw new IllegalStateException(e);
      }
    }
    Path path = Path.of(System.getProperty("parity.root", "")).resolve(asked).toAbsolutePath();
    if (!Files.isRegularFile(path.resolve(NAME + ".json"))) {
      throw new AssertionError(
          "hirasb.golden is %s but there is no %s.json in %s; a relative folder counts from where the build was started"
              .formatted(asked, NAME, path));
    }
    return path;
  }

  /** The cases that the JSON names. */
  List<String> cases() {
    return new ArrayList<>(facts.get("cases").propertyNames());
  }

  JsonNode of(String name) {
    return facts.get("cases").get(name);
  }

  /** The sweeps after which a case has matrices. */
  Iterable<Integer> sweeps(String name) {
    var found = new TreeSet<Integer>();
    for (String key : tensors.entries().keySet()) {
      if (key.startsWith(name + ".")) {
        Matcher match = SWEEPS.matcher(key.substring(name.length() + 1));
        if (match.matches()) {
          found.add(Integer.valueOf(match.group(1)));
        }
      }
    }
    assertThat(found).as("sweeps of " + name).isNotEmpty();
    return found;
  }

  boolean has(String key) {
    return tensors.entries().keySet().contains(key);
  }

  Tensor tensor(String key, ScalarType dtype) {
    return tensors.tensor(key).to(dtype);
  }

  /** Checks a matrix by the relative Frobenius error. */
  void near(String key, Tensor got, double bound) {
    Tensor expected = tensors.tensor(key);
    double error =
        got.to(ScalarType.Double).sub(expected).norm().div(expected.norm()).item_double();
    assertThat(error).as(key).isLessThan(bound);
  }

  @Override
  public void close() {
    tensors.close();
  }
}
