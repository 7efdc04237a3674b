package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PathMapTest {

  @ParameterizedTest
  @CsvSource({
    "foo, foo, true",
    "foo, a.foo, true",
    "foo, foobar, false",
    "foo, barfoo, false",
    "^foo, foo, true",
    "^foo, a.foo, false",
    "module.foo, module.foo, true",
    "module.foo, module.module.foo, true",
    ".*foo, barfoo, true",
    "layers.1.q, xlayers.1.q, false",
    "model.0, modelx0, true"
  })
  void a_key_matches_the_end_of_a_path_on_the_border_of_a_name(
      String key, String path, boolean expected) {
    assertThat(PathMap.hits(key, path)).isEqualTo(expected);
  }

  @Test
  void the_first_key_that_matches_decides_in_the_order_of_the_file() {
    var ranks = new LinkedHashMap<String, Integer>();
    ranks.put("foo", 1);
    ranks.put("module.foo", 2);

    var map = new PathMap<>(ranks);

    assertThat(map.at("module.foo", 9)).isEqualTo(1);
    assertThat(map.at("bar", 9)).isEqualTo(9);
  }

  @Test
  void maps_are_equal_whatever_their_order() {
    assertThat(new PathMap<>(Map.of("a", 1, "b", 2)))
        .isEqualTo(new PathMap<>(Map.of("b", 2, "a", 1)));
  }
}
