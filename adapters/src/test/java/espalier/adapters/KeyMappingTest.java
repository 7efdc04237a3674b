package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class KeyMappingTest {

  @ParameterizedTest
  @CsvSource({
    "^old\\., new., old.a.old.b, new.a.old.b",
    "(\\w+)\\.(\\d+), \\2.\\1, a.1.b.2, 1.a.2.b",
    "l(?P<at>\\d)\\., layers.\\g<at>., l3.q, layers.3.q",
    "(?P<x_y>a)(?P<z>b), \\g<z>\\g<x_y>, ab.c, ba.c",
    "h(\\d), \\g<1>0, h1.q, 10.q",
    "(a)|(b), [\\2], ab, [][b]",
    "a, $1\\\\, a, $1\\",
    "nothing, x, a.b, a.b"
  })
  void a_replacement_means_what_it_means_in_python(
      String regex, String replacement, String key, String expected) {
    assertThat(new KeyMapping(Map.of(regex, replacement)).apply(key)).isEqualTo(expected);
  }

  @Test
  void only_the_first_rule_that_changes_a_key_is_applied() {
    var rules = new LinkedHashMap<String, String>();
    rules.put("absent", "x");
    rules.put("^a\\.", "b.");
    rules.put("^b\\.", "c.");
    var mapping = new KeyMapping(rules);

    assertThat(mapping.apply("a.q")).isEqualTo("b.q");
    assertThat(mapping.apply("b.q")).isEqualTo("c.q");
  }

  @ParameterizedTest
  @CsvSource({"\\2, 2", "\\g<3>, 3", "\\g<name>, name"})
  void a_group_that_is_not_there_is_refused(String replacement, String group) {
    assertThatThrownBy(() -> new KeyMapping(Map.of("(a)", replacement)))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "the key mapping's replacement \"%s\" names the group %s, which \"(a)\" does not have"
                .formatted(replacement, group));
  }
}
