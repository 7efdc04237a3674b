package espalier.text.jinja;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.time.Clock;
import java.time.Instant;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Templates that would hang or fill the JVM, if they were let. */
class LimitsTest {

  private static final Clock CLOCK = Clock.fixed(Instant.EPOCH, ZoneOffset.UTC);

  @ParameterizedTest
  @ValueSource(
      strings = {
        // steps
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
        "{% set s = 'ab' * 999999 %}{% for a in range(99999) %}{% if s == s ~ 'x' %}{% endif %}{%"
            + " endfor %}",
        "{% set s = 'a' * 2000000 %}{{ s in s[1:] ~ 'b' ~ s }}",
        "{% set s = 'a' * 200000 %}{% set t = 'a' * 1000 ~ 'b' %}{% for i in range(9999) %}{{"
            + " s.rfind(t) }}{{ t in s }}{{ s.count(t) }}{% endfor %}",
        "{% set s = 'a' * 400000 %}{{ s.split('a' * 1000 ~ 'b') }}{{ s.replace('a' * 90000 ~ 'b',"
            + " '') }}",
        "{% set s = 'a ' * 1000000 %}{% for i in range(9999) %}{% set t ="
            + " s.strip('xyz').lower().title() %}{% endfor %}",
        "{% set xs = range(99999)|list %}{% for i in range(9999) %}{% if 'x' in xs %}{% endif %}{%"
            + " endfor %}",
        "{{ range(99999)|map('string')|list|unique|list }}",
        "{% for i in range(99999) %}{% set x = range(99999)|sort(reverse=true) %}{% endfor %}",
        "{% set s = '{}' * 500000 %}{{ s.format(*range(99999)) }}",
        // output and memory
        "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
        "{{ 'x' * 9999999999 }}",
        "{{ [0] * 9999999999 }}",
        "{{ ['x' * 1000] * 100000 }}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{%"
            + " endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s ~ ns.s"
            + " %}{% endfor %}",
        "{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{%"
            + " endfor %}",
        "{% set ns = namespace(s=[]) %}{% for i in range(9999) %}{% set ns.s = ns.s + ['x' *"
            + " 1000000 ~ i] %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s|replace('x',"
            + " 'xx') %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s.join(['a', 'b',"
            + " 'c']) %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = '%s%s' % (ns.s, ns.s)"
            + " %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = '{0}{0}'.format(ns.s)"
            + " %}{% endfor %}",
        "{% set ns = namespace(s=['x']) %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{%"
            + " endfor %}{{ ns.s }}",
        "{% set ns = namespace(s=['x']) %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{%"
            + " endfor %}{{ ns.s|tojson }}",
        "{% set ns = namespace(s=['x']) %}{% for i in range(99) %}{% set ns.s = [ns.s, ns.s] %}{%"
            + " endfor %}{{ ns.s == [ns.s[0], ns.s[1]] }}",
        "{{ 'x'.center(999999999) }}{{ 'x'.zfill(999999999) }}",
        "{{ 'a\\tb'.expandtabs(999999999) }}",
        "{{ '%999999999d' % 1 }}",
        "{{ '%.999999999f' % 1 }}",
        "{{ '{:>999999999}'.format('x') }}",
        "{{ 'x'|indent(999999999, true) }}",
        "{{ {'a': [[1]]}|tojson(indent=999999999) }}",
        "{{ [1]|batch(999999999, 0)|list }}",
        "{{ [1]|slice(999999999)|list }}",
        "{{ ('a' * 999999).replace('', 'b' * 999) }}",
        "{{ ('a' * 999999)|urlencode ~ ('<' * 999999)|e }}",
        "{% for i in range(99999) %}{% set x = 'ab' * 500000 %}{% endfor %}",
        "{% set d = dict() %}{% set ns = namespace(d={}) %}{% for i in range(9999) %}{% set ns.d ="
            + " dict(ns.d, **{'k' ~ i: 1}) %}{% endfor %}",
        "{% for i in range(99999) %}{{ strftime_now('%A' * 100000) }}{% endfor %}",
        "{{ raise_exception('x' * 4000000) }}",
        "{{ 2 ** 99999999999 }}",
        "{{ 3 ** 9999 }}",
        "{{ (2 ** 4000) * (2 ** 4000) }}",
        "{% set ns = namespace(g=[1]) %}{% for i in range(9999) %}{% set ns.g = ns.g|map('abs')"
            + " %}{% endfor %}{{ ns.g|list }}",
        // depth
        "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
        "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
        "{% set ns = namespace(s=[]) %}{% for i in range(9999) %}{% set ns.s = [ns.s] %}{% endfor"
            + " %}{{ ns.s }}",
        "{% set ns = namespace(s=[]) %}{% for i in range(9999) %}{% set ns.s = [ns.s] %}{% endfor"
            + " %}{{ ns.s|tojson }}",
        "{% set a = namespace(s=[]) %}{% set b = namespace(s=[]) %}{% for i in range(9999) %}{% set"
            + " a.s = [a.s] %}{% set b.s = [b.s] %}{% endfor %}{{ a.s == b.s }}",
        "{% set a = namespace(s=()) %}{% for i in range(9999) %}{% set a.s = (a.s, 1) %}{% endfor"
            + " %}{{ {a.s: 1} }}",
        "{% set a = namespace(s=[]) %}{% set b = namespace(s=[]) %}{% for i in range(9999) %}{% set"
            + " a.s = [a.s] %}{% set b.s = [b.s] %}{% endfor %}{{ a.s < b.s }}",
        "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}",
        "{% macro b() %}{{ caller() }}{% endmacro %}{% macro m() %}{% call b() %}{{ m() }}{%"
            + " endcall %}{% endmacro %}{{ m() }}",
      })
  void a_hostile_template_is_stopped(String source) {
    Template template = Template.parse(source);
    Limits limits = Limits.DEFAULT.withSteps(200_000); // a fifth, for the test to be quick

    assertThatExceptionOfType(JinjaException.class)
        .isThrownBy(() -> template.render(Map.of(), CLOCK, limits))
        .satisfies(e -> assertThat(e.getMessage()).hasSizeLessThan(1100).contains("(line 1)"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "(",
        "[",
        "{'a':",
        "not ",
        "-",
        "a if a else ",
        "x|f(",
        "x is f(",
        "a[",
        "f(",
        "a ~ (",
        "'' if '' if"
      })
  void a_deeply_nested_expression_is_not_parsed(String piece) {
    assertThatExceptionOfType(JinjaException.class)
        .isThrownBy(() -> Template.parse("{{ " + piece.repeat(50_000)));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{% if a %}",
        "{% for a in b %}",
        "{% set a %}",
        "{% macro a() %}",
        "{% with %}",
        "{% generation %}",
        "{% filter f %}",
        "{% call f() %}",
        "{% for (((((a"
      })
  void deeply_nested_blocks_are_not_parsed(String piece) {
    assertThatExceptionOfType(JinjaException.class)
        .isThrownBy(() -> Template.parse(piece.repeat(20_000)));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        " + 1", ".x", "[0]", "|f", "()", " and a", " or a", " < 1", " ** 2", " is a", " * 2"
      })
  void a_long_chain_is_stopped_or_evaluated(String piece) {
    String source = "{{ a" + piece.repeat(20_000) + " }}";

    try {
      var rendered = Template.parse(source).render(Map.of("a", 1), CLOCK, Limits.DEFAULT);
      assertThat(rendered.text()).isEqualTo("False"); // of a comparison, at its first link
    } catch (JinjaException e) {
      assertThat(e).hasMessageContaining("(line 1)");
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "1_", "9", "{% ", "{{ ", "{# ", "{% raw", "<!--", "'", "\\", "{%-\n", "{{a", "%}", "a\n {"
      })
  void endless_repetition_is_parsed_or_refused_at_once(String piece) {
    String source = piece.repeat(300_000 / piece.length());

    for (String all : List.of(source, "{{ " + source, "{% " + source, "{{ " + source + " }}")) {
      try {
        assertThat(Template.parse(all)).isNotNull();
      } catch (JinjaException e) {
        assertThat(e).hasMessageNotContaining("\n");
      }
    }
  }

  @Test
  void a_template_that_is_too_long_is_refused() {
    assertThatExceptionOfType(JinjaException.class)
        .isThrownBy(() -> Template.parse("x".repeat(2 << 20)))
        .withMessage("the template has 2097152 UTF-16 units but at most 1048576 are parsed");
  }

  @Test
  void the_limits_hold_on_a_small_stack() throws InterruptedException {
    Template template =
        Template.parse(
            "{% macro m(n) %}{% if true %}{{ m((n + 1)) }}{% endif %}{% endmacro %}{{ m(0) }}");
    AtomicReference<Throwable> thrown = new AtomicReference<>();

    Thread small =
        new Thread(
            null,
            () -> {
              try {
                template.render(Map.of(), CLOCK, new Limits(1_000_000, 1000, 1000, 1_000_000));
              } catch (Throwable e) {
                thrown.set(e);
              }
            },
            "small",
            200_000);
    small.start();
    small.join();

    assertThat(thrown.get())
        .isInstanceOf(JinjaException.class)
        .hasMessageStartingWith("the template nests too deep for this thread's stack");
  }

  @Test
  void a_long_conversation_stays_within_the_limits() {
    Template template =
        Template.parse(
            "{% for m in messages %}{% if m.role == 'user' %}<u>{{ m.content|trim }}{% else %}"
                + "<a>{{ m.content.split('</think>')[-1].strip() }}{% endif %}\n{% endfor %}");
    List<Map<String, String>> messages = new ArrayList<>();
    for (int i = 0; i < 2000; i++) {
      messages.add(
          Map.of("role", i % 2 == 0 ? "user" : "assistant", "content", "word ".repeat(200)));
    }

    String text = template.render(Map.of("messages", messages), CLOCK, Limits.DEFAULT).text();

    assertThat(text).hasSize(2000 * (3 + 999));
  }

  @Test
  void limits_below_one_are_refused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> Limits.DEFAULT.withSteps(0))
        .withMessageStartingWith("the limits are 0 steps");
  }
}
