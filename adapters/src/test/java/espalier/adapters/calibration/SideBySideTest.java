package espalier.adapters.calibration;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class SideBySideTest {

  @Test
  void each_item_is_done_once() {
    List<Integer> items = IntStream.range(0, 50).boxed().toList();
    var done = new ConcurrentLinkedQueue<Integer>();

    SideBySide.each(items, done::add);

    assertThat(done).containsExactlyInAnyOrderElementsOf(items);
  }

  @Test
  void what_the_first_item_throws_is_thrown() {
    assertThatThrownBy(
            () ->
                SideBySide.each(
                    List.of(1, 2, 3),
                    item -> {
                      throw new IllegalArgumentException("item " + item);
                    }))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("item 1");
  }
}
