package espalier.serving;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

class StopStringsTest {

  @Test
  void text_without_stop_strings_goes_straight_through() {
    var stops = new StopStrings(List.of());

    assertThat(stops.push("ab") + stops.push("") + stops.push("c")).isEqualTo("abc");
  }

  @Test
  void text_ends_before_a_stop_string() {
    var stops = new StopStrings(List.of("END"));

    assertThat(stops.push("one END two")).isEqualTo("one ");
    assertThat(stops.found()).isTrue();
    assertThat(stops.push("three") + stops.finish()).isEmpty();
  }

  @Test
  void a_stop_string_is_found_across_pieces_and_no_part_of_it_gets_out() {
    var stops = new StopStrings(List.of("\nUser:"));

    assertThat(stops.push("yes\nU")).isEqualTo("yes");
    assertThat(stops.push("se")).isEmpty();
    assertThat(stops.push("r: no")).isEmpty();
    assertThat(stops.found()).isTrue();
  }

  @Test
  void what_only_began_like_a_stop_string_comes_after_all() {
    var stops = new StopStrings(List.of("aab"));

    assertThat(stops.push("aa")).isEmpty();
    assertThat(stops.push("a")).isEqualTo("a");
    assertThat(stops.push("c")).isEqualTo("aac");
    assertThat(stops.found()).isFalse();
  }

  @Test
  void of_several_stop_strings_the_first_in_the_text_counts() {
    var stops = new StopStrings(List.of("z", "mno", "no"));

    assertThat(stops.push("lmnoz")).isEqualTo("l");
  }

  @Test
  void the_end_of_the_text_releases_what_was_held_back() {
    var stops = new StopStrings(List.of("END"));

    String text = stops.push("the E") + stops.push("N") + stops.finish();

    assertThat(text).isEqualTo("the EN");
  }
}
