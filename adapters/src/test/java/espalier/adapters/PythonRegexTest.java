package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PythonRegexTest {

  private static boolean matches(String regex, String text) {
    return PythonRegex.compile(regex, "target_modules").matcher(text).matches();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ' ',
      quoteCharacter = '"',
      value = {
        ".*\\.1\\..*(q|v)_proj layers.1.attn.q_proj true",
        ".*\\.1\\..*(q|v)_proj layers.2.attn.q_proj false",
        "q_proj model.q_proj false",
        "(?P<name_1>a|b)\\.(?P=name_1) a.a true",
        "(?P<name_1>a|b)\\.(?P=name_1) a.b false",
        "a{,2}b aab true",
        "a{,2}b aaab false",
        "a\\Z a true",
        "[a[b]+ a[b true",
        "[]a]+ a]a true",
        "[^]a]+ bcb true",
        "[a&&b]+ a&b true",
        "[\\]x]+ x]x true",
        "(?i)Q_PROJ q_proj true"
      })
  void an_expression_means_what_it_means_in_python(String regex, String text, boolean expected) {
    assertThat(matches(regex, text)).isEqualTo(expected);
  }

  @Test
  void what_is_no_expression_is_refused_with_its_field_and_place() {
    assertThatThrownBy(() -> matches("(q|v", "q"))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "target_modules \"(q|v\" is no regular expression: Unclosed group at position 4;"
                + " a list of names needs no pattern");
  }
}
