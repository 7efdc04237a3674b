package espalier.text.jinja;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.io.InputStream;
import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.ArrayList;
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

/** Small templates, each rendered or refused as jinja2 does; by src/test/python/render_cases.py. */
class ReferenceCasesTest {

  private static final Clock CLOCK =
      Clock.fixed(Instant.parse("2026-03-05T07:08:09.000012Z"), ZoneOffset.UTC);

  @TestFactory
  Stream<DynamicTest> every_case_is_as_in_the_reference() throws IOException {
    JsonNode root;
    try (InputStream file = ReferenceCasesTest.class.getResourceAsStream("cases.json")) {
      root = JsonMapper.shared().readTree(Objects.requireNonNull(file));
    }
    Map<String, Object> variables =
        JsonMapper.shared().convertValue(root.get("variables"), new TypeReference<>() {});
    return StreamSupport.stream(root.get("cases").spliterator(), false)
        .map(
            example ->
                DynamicTest.dynamicTest(
                    example.get("template").toString(), () -> check(example, variables)));
  }

  private static void check(JsonNode example, Map<String, Object> variables) {
    String source = example.get("template").asString();

    if (example.has("error")) {
      assertThatThrownBy(() -> Template.parse(source).render(variables, CLOCK, Limits.DEFAULT))
          .as(example.get("error").asString())
          .isInstanceOf(JinjaException.class);
      return;
    }

    var rendered = Template.parse(source).render(variables, CLOCK, Limits.DEFAULT);

    assertThat(rendered.text()).isEqualTo(example.get("text").asString());
    assertThat(inCodePoints(rendered)).isEqualTo(spans(example));
  }

  private static List<List<Integer>> inCodePoints(Template.Rendered rendered) {
    List<List<Integer>> spans = new ArrayList<>();
    for (int[] span : rendered.generated()) {
      String text = rendered.text();
      spans.add(List.of(text.codePointCount(0, span[0]), text.codePointCount(0, span[1])));
    }
    return spans;
  }

  private static List<List<Integer>> spans(JsonNode example) {
    List<List<Integer>> spans = new ArrayList<>();
    for (JsonNode span : example.path("generated")) {
      spans.add(List.of(span.get(0).intValue(), span.get(1).intValue()));
    }
    return spans;
  }
}
