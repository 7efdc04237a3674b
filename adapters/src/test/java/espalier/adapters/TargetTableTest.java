package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.io.IOException;
import java.io.InputStream;
import java.util.Objects;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * The layers that the reference chooses in random trees of names, and the ranks that it gives them;
 * the table is made by {@code src/test/python/target_table.py}.
 */
class TargetTableTest {

  private static final JsonNode TABLE = table();

  private static JsonNode table() {
    try (InputStream in = TargetTableTest.class.getResourceAsStream("targets.json")) {
      return new JsonMapper().readTree(Objects.requireNonNull(in));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  static Stream<JsonNode> cases() {
    return TABLE.required("cases").valueStream();
  }

  private static LoraConfig config(JsonNode given) {
    var fields = ((ObjectNode) given).deepCopy().put("peft_type", "LORA");
    return (LoraConfig) AdapterCatalog.standard().read(fields).config();
  }

  @ParameterizedTest
  @MethodSource("cases")
  void the_layers_and_their_ranks_are_those_of_the_reference(JsonNode one) {
    try (var _ = Scope.open();
        Tree tree = Tree.empty()) {
      for (JsonNode path : one.required("paths")) {
        tree.with(path.stringValue(), new Linear(torch.zeros(1, 1), null));
      }
      LoraConfig config = config(one.required("config"));
      var expected = new TreeMap<String, Integer>();
      one.required("ranks").properties().forEach(e -> expected.put(e.getKey(), rank(e.getValue())));

      if (expected.isEmpty()) {
        assertThatThrownBy(() -> Resolution.of(tree, Tree.facts(), config))
            .isInstanceOf(TargetException.class);
      } else {
        var got = new TreeMap<String, Integer>();
        Resolution.of(tree, Tree.facts(), config)
            .modules()
            .forEach(path -> got.put(path, config.rankAt(path)));
        assertThat(got).isEqualTo(expected);
      }
    }
  }

  private static int rank(JsonNode node) {
    return node.asInt(-1);
  }

  @Test
  void the_usual_layers_of_each_architecture_are_those_of_the_reference() {
    TABLE
        .required("usual")
        .properties()
        .forEach(
            usual -> {
              JsonNode names = usual.getValue();
              Modules expected =
                  names.isString()
                      ? new Modules.Matching(names.stringValue())
                      : new Modules.Named(names.valueStream().map(JsonNode::stringValue).toList());
              assertThat(Architectures.usual(usual.getKey()))
                  .as(usual.getKey())
                  .isEqualTo(expected);
            });
  }
}
