package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.stream.Stream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Logits of transformers 5.23, from {@code parity/generate.py}, at every position, padded or not.
 */
class ReferenceLogitsTest {

  static Stream<String> cases() {
    JsonNode index = JsonMapper.shared().readTree(Fixtures.PARITY.resolve("index.json").toFile());
    return index.get("cases").values().stream()
        .filter(each -> each.get("kind").asString().equals("model"))
        .filter(each -> !each.has("variant"))
        .map(each -> each.get("name").asString());
  }

  @ParameterizedTest
  @MethodSource("cases")
  void logits_without_an_adapter_are_those_of_the_reference(String name) {
    Path folder = folder(name);
    JsonNode facts = facts(name);
    Safetensors inputs = Safetensors.read(folder.resolve("inputs.safetensors"));
    Tensor expected = Safetensors.read(folder.resolve("expected.safetensors")).get("base_logits");

    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = Fixtures.model(id(facts))) {
      Tensor logits =
          model.logits(
              new ModelInputs(
                  inputs.get("input_ids"),
                  inputs.get("attention_mask"),
                  null,
                  null,
                  null,
                  inputs.find("decoder_input_ids"),
                  null,
                  null));

      JsonNode limits = facts.get("tolerance").get("default");
      double limit =
          limits.get("atol").asDouble()
              + limits.get("rtol").asDouble() * Fixtures.largest(expected);
      assertThat(Fixtures.distance(logits, expected)).isLessThanOrEqualTo(limit);
    }
  }

  @ParameterizedTest
  @MethodSource("cases")
  void every_adapted_module_is_at_its_path(String name) {
    JsonNode facts = facts(name);

    try (Model model = Fixtures.model(id(facts))) {
      if (name.contains("replication")) {
        model.repeatBlocks(0, 1, 1);
      }

      assertThat(facts.get("modules").propertyNames())
          .allSatisfy(
              path ->
                  assertThat(model.find(path.replaceAll("(\\.base_layer)+$|\\.token_adapter$", "")))
                      .isNotNull());
    }
  }

  private static Path folder(String name) {
    return Fixtures.PARITY.resolve("cases").resolve(name);
  }

  private static JsonNode facts(String name) {
    return JsonMapper.shared().readTree(folder(name).resolve("case.json").toFile());
  }

  /** The model's folder, such as llama. */
  private static String id(JsonNode facts) {
    String path = facts.get("model").asString();
    return path.substring(path.lastIndexOf('/') + 1);
  }
}
