package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class SuffixesTest {

  private static List<String> paths(int blocks, String... names) {
    var paths = new ArrayList<String>();
    for (int i = 0; i < blocks; i++) {
      for (String name : names) {
        paths.add("model.layers." + i + "." + name);
      }
    }
    return paths;
  }

  @Test
  void a_long_list_becomes_the_names_that_all_its_layers_end_with() {
    List<String> all = paths(30, "attn.q", "attn.k", "mlp.up");
    List<String> queries = all.stream().filter(p -> p.endsWith("q")).toList();

    assertThat(Suffixes.shortened(queries, all)).containsExactly("q");
  }

  @Test
  void a_list_of_fewer_than_twenty_is_left_as_it_is() {
    List<String> all = paths(19, "attn.q");

    assertThat(Suffixes.shortened(all, all)).isEqualTo(all);
  }

  @Test
  void a_suffix_that_hits_another_layer_is_lengthened() {
    List<String> all = paths(20, "self.q", "cross.q");
    List<String> own = all.stream().filter(p -> p.endsWith("self.q")).toList();

    assertThat(Suffixes.shortened(own, all)).containsExactly("self.q");
  }

  @Test
  void the_shortened_list_chooses_the_same_layers_in_random_trees() {
    var random = new Random(5);
    for (int round = 0; round < 200; round++) {
      List<String> all =
          IntStream.range(0, 60)
              .mapToObj(_ -> random.nextInt(4) + "." + random.nextInt(9) + "." + random.nextInt(9))
              .distinct()
              .toList();
      List<String> names = all.stream().filter(_ -> random.nextInt(3) > 0).toList();

      List<String> shortened = Suffixes.shortened(names, all);

      var chosen = new Modules.Named(shortened);
      assertThat(all.stream().filter(chosen::matches)).containsExactlyElementsOf(names);
      assertThat(shortened).hasSizeLessThanOrEqualTo(names.size());
    }
  }
}
