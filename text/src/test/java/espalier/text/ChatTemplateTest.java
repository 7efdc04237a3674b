package espalier.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class ChatTemplateTest {

  private static final List<Message> TALK =
      List.of(Message.user("Hi 😀"), Message.assistant("Hello 日本"), Message.user("Bye"));

  @Test
  void a_conversation_becomes_text() {
    ChatTemplate template =
        ChatTemplate.parse(
            """
            {% for message in messages %}
              {{- '<' + message.role + '>' + message['content'] + '\\n' -}}
            {% endfor %}
            {% if add_generation_prompt %}<assistant>{% endif %}
            """);

    assertThat(template.render(TALK, true, Map.of()).text())
        .isEqualTo("<user>Hi 😀\n<assistant>Hello 日本\n<user>Bye\n<assistant>");
    assertThat(template.render(TALK, false, Map.of()).text()).endsWith("Bye\n");
  }

  @Test
  void maps_serve_as_messages() {
    ChatTemplate template = ChatTemplate.parse("{{ messages[0].content }}");

    Rendering rendering =
        template.render(List.of(Map.of("role", "user", "content", "Hi")), false, Map.of());

    assertThat(rendering).isEqualTo(new Rendering("Hi", List.of()));
  }

  @Test
  void what_the_assistant_says_is_marked() {
    ChatTemplate template =
        ChatTemplate.parse(
            """
            {% for m in messages %}
            {% if m.role == 'assistant' %}A:{% generation %}{{ m.content }}<end>{% endgeneration %}
            {% else %}U:{{ m.content }}{% endif %}
            {% endfor %}
            """);

    Rendering rendering = template.render(TALK, false, Map.of());

    assertThat(template.marksGenerated()).isTrue();
    assertThat(rendering.generated()).hasSize(1);
    Span span = rendering.generated().get(0);
    assertThat(rendering.text().substring(span.start(), span.end())).isEqualTo("Hello 日本<end>");
  }

  @Test
  void what_a_macro_marks_counts_where_it_is_printed() {
    ChatTemplate template =
        ChatTemplate.parse(
            """
            {% macro turn(m) %}[{% generation %}{{ m.content }}{% endgeneration %}]{% endmacro %}
            {% for m in messages %}{{ turn(m) }}{% endfor %}
            """);

    Rendering rendering = template.render(TALK, false, Map.of());

    assertThat(rendering.text()).isEqualTo("[Hi 😀][Hello 日本][Bye]");
    assertThat(rendering.generated())
        .extracting(span -> rendering.text().substring(span.start(), span.end()))
        .containsExactly("Hi 😀", "Hello 日本", "Bye");
  }

  @Test
  void tools_are_there_though_none() {
    ChatTemplate template = ChatTemplate.parse("{{ tools is none }}{{ documents is defined }}");

    assertThat(template.render(TALK, false, Map.of()).text()).isEqualTo("TrueTrue");
    assertThat(template.render(TALK, false, Map.of("tools", List.of())).text())
        .isEqualTo("FalseTrue");
  }

  @Test
  void variables_of_a_rendering_win_over_those_known() {
    ChatTemplate template =
        ChatTemplate.parse("{{ bos_token }}{{ x }}")
            .withVariables(Map.of("bos_token", "<s>", "x", 1));

    assertThat(template.render(TALK, false, Map.of()).text()).isEqualTo("<s>1");
    assertThat(template.render(TALK, false, Map.of("x", 2)).text()).isEqualTo("<s>2");
  }

  @Test
  void dates_come_from_the_clock() {
    ChatTemplate template =
        ChatTemplate.parse("{{ strftime_now('%d %b %Y') }}")
            .withClock(Clock.fixed(Instant.parse("2026-02-03T23:59:00Z"), ZoneOffset.ofHours(1)));

    assertThat(template.render(TALK, false, Map.of()).text()).isEqualTo("04 Feb 2026");
  }

  @Test
  void a_refusal_says_what_the_template_said_and_where() {
    ChatTemplate template =
        ChatTemplate.parse(
            "one\n{% if true %}\n{{ raise_exception('Roles must alternate') }}{% endif %}");

    assertThatExceptionOfType(TemplateException.class)
        .isThrownBy(() -> template.render(TALK, false, Map.of()))
        .withMessage("the chat template refused the conversation: Roles must alternate (line 3)");
  }

  @Test
  void what_cannot_be_parsed_says_where() {
    assertThatExceptionOfType(TemplateException.class)
        .isThrownBy(() -> ChatTemplate.parse("fine\n{% for x of y %}{% endfor %}"))
        .withMessage(
            "the chat template cannot be parsed: found 'of' but expected 'in' (line 2); mend the"
                + " template or give another");
  }

  @Test
  void a_missing_field_is_named() {
    ChatTemplate template = ChatTemplate.parse("{{ messages[0].tool_calls[0] }}");

    assertThatExceptionOfType(TemplateException.class)
        .isThrownBy(() -> template.render(TALK, false, Map.of()))
        .withMessageContaining("'dict object' has no attribute 'tool_calls'");
  }

  @Test
  void messages_and_variables_of_other_types_are_refused() {
    ChatTemplate template = ChatTemplate.parse("x");

    assertThatIllegalArgumentException()
        .isThrownBy(() -> template.render(List.of("Hi"), false, Map.of()))
        .withMessage(
            "a message is a java.lang.String but a Message or a map with role and content is"
                + " expected");
    assertThatIllegalArgumentException()
        .isThrownBy(() -> template.render(TALK, false, Map.of("x", new Object())))
        .withMessageStartingWith(
            "a variable of the template is a java.lang.Object but must be made");
  }

  @Test
  void limits_can_be_set() {
    ChatTemplate template = ChatTemplate.parse("{% for i in range(1000) %}x{% endfor %}");

    assertThat(template.render(TALK, false, Map.of()).text()).hasSize(1000);
    assertThatExceptionOfType(TemplateException.class)
        .isThrownBy(() -> template.withLimits(500, 10_000).render(TALK, false, Map.of()))
        .withMessageContaining("took more than 500 steps");
    assertThatExceptionOfType(TemplateException.class)
        .isThrownBy(() -> template.withLimits(5000, 999).render(TALK, false, Map.of()))
        .withMessageContaining("wrote more than 999 characters");
  }

  @Test
  void one_template_serves_many_threads() {
    ChatTemplate template =
        ChatTemplate.parse(
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor"
                + " %}{{ ns.n }}");

    assertThat(
            java.util.stream.IntStream.range(0, 64)
                .parallel()
                .mapToObj(i -> template.render(TALK, false, Map.of()).text()))
        .containsOnly("3");
  }
}
