package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

final class NearestTest {

  @Test
  void two_letters_in_the_wrong_order_are_one_edit() {
    assertThat(Nearest.of("q_porj", List.of("q_pool", "q_proj"))).isEqualTo("q_proj");
  }

  @Test
  void of_names_that_are_equally_near_the_first_is_taken() {
    assertThat(Nearest.of("rank", List.of("sank", "bank"))).isEqualTo("sank");
  }

  @Test
  void a_layer_is_named_by_its_last_part_and_counted() {
    assertThat(Nearest.layer("q_porj", List.of("layers.0.q_proj", "layers.1.q_proj", "lm_head")))
        .isEqualTo("nearest is q_proj (2 layers)");
  }

  @Test
  void where_no_layer_is_near_all_are_named() {
    assertThat(Nearest.layer("query_key_value", List.of("layers.0.q_proj", "lm_head")))
        .isEqualTo("the model has lm_head, q_proj");
  }
}
