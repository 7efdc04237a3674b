package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

final class SplitMix64Test {

  @Test
  void it_gives_the_published_numbers() {
    var random = new SplitMix64(1234567);

    assertThat(Long.toUnsignedString(random.next())).isEqualTo("6457827717110365317");
    assertThat(Long.toUnsignedString(random.next())).isEqualTo("3203168211198807973");
    assertThat(Long.toUnsignedString(random.next())).isEqualTo("9817491932198370423");
  }

  @Test
  void each_number_below_the_bound_comes_as_often() {
    var random = new SplitMix64(1);
    int[] counts = new int[6];

    IntStream.range(0, 60_000).forEach(i -> counts[random.below(6)]++);

    // 10 000 each is expected, with a standard deviation of 91
    assertThat(IntStream.of(counts)).allMatch(count -> count > 9_600 && count < 10_400);
  }

  @Test
  void neighbouring_epochs_do_not_share_a_stream() {
    SplitMix64 first = SplitMix64.of(0, 0);
    SplitMix64 second = SplitMix64.of(0, 1);
    long[] a = IntStream.range(0, 50).mapToLong(i -> first.next()).toArray();
    long[] b = IntStream.range(0, 50).mapToLong(i -> second.next()).toArray();

    assertThat(a).doesNotContain(b);
  }
}
