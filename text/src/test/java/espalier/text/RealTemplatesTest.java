package espalier.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Renders the chat templates of real models and compares with what the Python reference rendered.
 *
 * <p>The templates belong to their models and are not part of this repository. The test waits for a
 * folder of them: {@code -Despalier.chatTemplates=FOLDER}, with {@code renderings.json} in it.
 */
@EnabledIfSystemProperty(
    named = "espalier.chatTemplates",
    matches = ".+",
    disabledReason = "waits for -Despalier.chatTemplates=FOLDER with renderings.json and templates")
class RealTemplatesTest {

  private static final Clock DAY_OF_THE_RENDERINGS =
      Clock.fixed(Instant.parse("2026-11-23T12:00:00Z"), ZoneOffset.UTC);

  @TestFactory
  Stream<DynamicTest> every_rendering_is_the_reference_s() throws IOException {
    Path folder = Path.of(System.getProperty("espalier.chatTemplates"));
    JsonNode root =
        JsonMapper.shared().readTree(Files.readString(folder.resolve("renderings.json")));
    return StreamSupport.stream(root.get("cases").spliterator(), false)
        .map(
            example ->
                DynamicTest.dynamicTest(
                    "%s, %s%s"
                        .formatted(
                            example.get("template").asString(),
                            example.get("conversation").asString(),
                            example.get("add_generation_prompt").asBoolean() ? ", prompt" : ""),
                    () -> check(folder, root, example)));
  }

  private static void check(Path folder, JsonNode root, JsonNode example) throws IOException {
    String conversation = example.get("conversation").asString();
    List<Map<String, Object>> messages = list(root.get("conversations").get(conversation));
    Map<String, Object> variables = new HashMap<>();
    root.get("special")
        .properties()
        .forEach(e -> variables.put(e.getKey(), e.getValue().asString()));
    if (conversation.equals("tools")) {
      variables.put("tools", list(root.get("tools")));
    }
    ChatTemplate template =
        ChatTemplate.parse(Files.readString(folder.resolve(example.get("template").asString())))
            .withClock(DAY_OF_THE_RENDERINGS);
    boolean prompt = example.get("add_generation_prompt").asBoolean();

    if (example.get("ok").asBoolean()) {
      assertThat(template.render(messages, prompt, variables).text())
          .isEqualTo(example.get("text").asString());
    } else {
      assertThatThrownBy(() -> template.render(messages, prompt, variables))
          .isInstanceOf(TemplateException.class);
    }
  }

  private static List<Map<String, Object>> list(JsonNode node) {
    return JsonMapper.shared().convertValue(node, new TypeReference<>() {});
  }
}
