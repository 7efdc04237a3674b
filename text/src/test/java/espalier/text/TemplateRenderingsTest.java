package espalier.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Whole chat templates over several conversations, each rendered or refused as transformers does;
 * by src/test/python/render_templates.py.
 */
class TemplateRenderingsTest {

  private static final Clock CLOCK =
      Clock.fixed(Instant.parse("2026-03-05T07:08:09.000012Z"), ZoneOffset.UTC);

  @TestFactory
  Stream<DynamicTest> every_rendering_is_the_reference_s() throws IOException {
    JsonNode root = JsonMapper.shared().readTree(file("renderings.json"));
    return StreamSupport.stream(root.get("cases").spliterator(), false)
        .map(
            example ->
                DynamicTest.dynamicTest(
                    "%s, %s, variables %d%s"
                        .formatted(
                            example.get("template").asString(),
                            example.get("conversation").asString(),
                            example.get("variables").asInt(),
                            example.get("add_generation_prompt").asBoolean() ? ", prompt" : ""),
                    () -> check(root, example)));
  }

  private static void check(JsonNode root, JsonNode example) throws IOException {
    String source = file(example.get("template").asString());
    List<Map<String, Object>> messages =
        JsonMapper.shared()
            .convertValue(
                root.get("conversations").get(example.get("conversation").asString()),
                new TypeReference<>() {});
    Map<String, Object> variables = new HashMap<>(Map.of("bos_token", "<s>", "eos_token", "</s>"));
    variables.putAll(
        JsonMapper.shared()
            .convertValue(
                root.get("variables").get(example.get("variables").asInt()),
                new TypeReference<Map<String, Object>>() {}));
    boolean prompt = example.get("add_generation_prompt").asBoolean();

    if (example.has("error")) {
      assertThatThrownBy(
              () -> ChatTemplate.parse(source).withClock(CLOCK).render(messages, prompt, variables))
          .as(example.get("error").asString())
          .isInstanceOf(TemplateException.class);
      return;
    }

    Rendering rendering =
        ChatTemplate.parse(source).withClock(CLOCK).render(messages, prompt, variables);

    assertThat(rendering.text()).isEqualTo(example.get("text").asString());
    assertThat(inCodePoints(rendering))
        .isEqualTo(
            JsonMapper.shared()
                .convertValue(
                    example.get("generated"), new TypeReference<List<List<Integer>>>() {}));
  }

  private static List<List<Integer>> inCodePoints(Rendering rendering) {
    List<List<Integer>> spans = new ArrayList<>();
    for (Span span : rendering.generated()) {
      String text = rendering.text();
      spans.add(List.of(text.codePointCount(0, span.start()), text.codePointCount(0, span.end())));
    }
    return spans;
  }

  private static String file(String name) throws IOException {
    try (InputStream file = TemplateRenderingsTest.class.getResourceAsStream("templates/" + name)) {
      return new String(Objects.requireNonNull(file).readAllBytes(), StandardCharsets.UTF_8);
    }
  }
}
