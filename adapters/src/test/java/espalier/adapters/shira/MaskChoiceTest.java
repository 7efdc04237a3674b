package espalier.adapters.shira;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.linalg_matrix_rank;
import static org.bytedeco.pytorch.global.torch.ones;
import static org.bytedeco.pytorch.global.torch.zeros;

import espalier.adapters.ConfigException;
import espalier.adapters.NativeScope;
import espalier.adapters.Tree;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.RandomState;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class MaskChoiceTest {

  private static final ShiraConfig TWO = ShiraConfig.defaults().withR(2);

  private final Tree.Draw draw = new Tree.Draw(4);
  @RegisterExtension final NativeScope scope = NativeScope.open();

  private static ShiraLinear create(ShiraConfig config, Linear layer) {
    return (ShiraLinear) config.create(layer, "layer", Init.shared(1));
  }

  private static ShiraLinear create(ShiraConfig config, Linear layer, Tensor gradient) {
    Init init = Init.shared(1).withPrepared(Map.of("gradient", gradient));
    return (ShiraLinear) config.create(layer, "layer", init);
  }

  private static List<Long> positions(ShiraLinear adapter) {
    var pointer = new LongPointer(adapter.support().positions().data_ptr());
    return LongStream.range(0, adapter.support().count()).mapToObj(pointer::get).toList();
  }

  /** The positions of the highest scores by sorting all of them; a lower position wins. */
  private static List<Long> highest(Tensor scores, int count) {
    var pointer = new FloatPointer(scores.contiguous().data_ptr());
    return LongStream.range(0, scores.numel())
        .boxed()
        .sorted(Comparator.<Long>comparingDouble(i -> -pointer.get(i)).thenComparing(i -> i))
        .limit(count)
        .sorted()
        .toList();
  }

  // The first positions, and the sum of (place · position) mod 1000003, of the reference's
  // random_mask on nn.Linear(20, 30) with r 2.
  @ParameterizedTest
  @CsvSource(
      nullValues = "null",
      value = {
        "0, 0 4 15 23 27 29 30 33 38 44, 6703",
        "7, 14 15 19 30 40 48 52 59 60 67, 32817",
        "99, 0 1 3 13 16 25 27 35 36 44, 981347",
        "null, 2 3 7 21 29 30 31 44 46 51, 890926",
        "-1, 0 2 4 6 9 11 12 15 16 27, 3145"
      })
  void the_random_mask_is_the_reference_s(@Nullable Long seed, String first, long sum) {
    var layer = new Linear(draw.normal(30, 20), null);

    List<Long> chosen = positions(create(TWO.withRandomSeed(seed), layer));

    assertThat(chosen).hasSize(100);
    assertThat(chosen.stream().limit(10).map(String::valueOf).collect(Collectors.joining(" ")))
        .isEqualTo(first);
    long weighted = 0;
    for (int i = 0; i < chosen.size(); i++) {
      weighted += (i + 1) * chosen.get(i);
    }
    assertThat(weighted % 1000003).isEqualTo(sum);
  }

  @Test
  void the_random_mask_leaves_the_other_generators_alone() {
    RandomState.seed(5);
    Tensor before = RandomState.save();
    var layer = new Linear(draw.normal(30, 20), null);
    Init init = Init.shared(3);

    TWO.create(layer, "layer", init);

    assertThat(RandomState.save().equal(before)).isTrue();
    assertThat(init.normal(1, 4).equal(Init.shared(3).normal(1, 4))).isTrue();
  }

  @Test
  void layers_of_one_shape_share_a_random_mask_unless_each_has_a_seed() {
    var layer = new Linear(draw.normal(30, 20), null);
    ShiraConfig each = TWO.withOptions(MaskOptions.defaults().withPerLayerSeed(true));

    var a = (ShiraLinear) each.create(layer, "a", Init.shared(1));
    var b = (ShiraLinear) each.create(layer, "b", Init.shared(1));
    var again = (ShiraLinear) each.create(layer, "a", Init.shared(2));

    assertThat(positions(a)).isNotEqualTo(positions(b)).isEqualTo(positions(again));
  }

  @Test
  void the_largest_weights_are_chosen_and_of_equal_ones_the_first() {
    Tensor weight = draw.normal(12, 10).mul(new Scalar(3)).round(); // many are equal
    var layer = new Linear(weight, null);

    List<Long> chosen = positions(create(TWO.withMask(ShiraMask.Known.WEIGHT_MAGNITUDE), layer));

    assertThat(chosen).isEqualTo(highest(weight.abs(), 44));
  }

  @Test
  void the_largest_gradients_are_chosen_with_or_without_the_weight() {
    Tensor weight = draw.normal(12, 10);
    Tensor gradient = draw.normal(12, 10);
    var layer = new Linear(weight, null);

    List<Long> byGradient =
        positions(create(TWO.withMask(ShiraMask.Known.GRADIENT), layer, gradient));
    List<Long> bySaliency = positions(create(TWO.withMask(ShiraMask.Known.SNIP), layer, gradient));

    assertThat(byGradient).isEqualTo(highest(gradient.abs(), 44));
    assertThat(bySaliency).isEqualTo(highest(gradient.mul(weight).abs(), 44));
    assertThat(byGradient).isNotEqualTo(bySaliency);
  }

  @Test
  void a_gradient_that_is_missing_or_of_another_shape_is_refused() {
    var layer = new Linear(draw.normal(12, 10), null);
    ShiraConfig config = TWO.withMask(ShiraMask.Known.SNIP);

    assertThatThrownBy(() -> create(config, layer))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "mask_type snip needs the gradient of layer, averaged over calibration batches; run"
                + " ShiraCalibration before attaching, or hand the gradient over with"
                + " InitSource.withPrepared under the name gradient");
    assertThatThrownBy(() -> create(config, layer, draw.normal(10, 12)))
        .hasMessage("the gradient of layer is [10, 12] but the weight is [12, 10]");
  }

  @ParameterizedTest
  @CsvSource({"12, 10", "10, 12", "9, 9", "30, 7"})
  void struct_takes_the_diagonal_whole_lines_and_the_first_of_the_rest(int out, int in) {
    var layer = new Linear(draw.normal(out, in), null);

    List<Long> chosen = positions(create(TWO.withMask(ShiraMask.Known.STRUCT), layer));

    int count = 2 * (out + in);
    int length = Math.min(out, in);
    int lines = Math.max(out, in);
    int whole = (count - length) / length;
    var expected = new TreeSet<Long>();
    for (int i = 0; i < length; i++) {
      expected.add((long) i * in + i);
    }
    var chosenLines = new TreeSet<Integer>();
    for (int t = 0; t < whole; t++) {
      chosenLines.add((int) Math.floor((t + 0.5) * lines / whole));
    }
    for (int line : chosenLines) {
      for (int i = 0; i < length; i++) {
        expected.add(in <= out ? (long) line * in + i : (long) i * in + line);
      }
    }
    for (int line = 0; line < lines; line++) {
      for (int i = 0; i < length && !chosenLines.contains(line) && expected.size() < count; i++) {
        expected.add(in <= out ? (long) line * in + i : (long) i * in + line);
      }
    }
    assertThat(chosen).hasSize(count).isEqualTo(List.copyOf(expected));
  }

  @Test
  void a_mask_of_structure_may_be_of_full_rank() {
    var layer = new Linear(draw.normal(12, 10), null);
    ShiraLinear adapter = create(TWO.withMask(ShiraMask.Known.STRUCT).withZeroStart(false), layer);

    assertThat(linalg_matrix_rank(adapter.deltaWeight()).item_long()).isEqualTo(10);
  }

  @Test
  void fewer_whole_lines_can_be_asked_for() {
    var layer = new Linear(draw.normal(12, 10), null);
    ShiraConfig config =
        TWO.withMask(ShiraMask.Known.STRUCT).withOptions(MaskOptions.defaults().withFrequency(1));

    List<Long> chosen = positions(create(config, layer));

    assertThat(chosen).hasSize(44);
    assertThat(chosen.stream().filter(p -> p / 10 == 6)).as("the middle row").hasSize(10);
  }

  @Test
  void a_mask_function_is_called_the_same_way_for_every_adapter() {
    var layer = new Linear(draw.normal(6, 4), null);
    ShiraConfig config =
        ShiraConfig.defaults()
            .withR(1)
            .withMask(
                "corner",
                (l, r) -> {
                  Tensor mask = zeros(l.out() * l.in());
                  mask.narrow(0, 0, r * (l.out() + l.in())).fill_(new Scalar(1));
                  return mask.view(l.out(), l.in());
                });

    ShiraLinear one = create(config, layer);
    layer.adapters().attach("one", one);
    ShiraLinear two = create(config, layer);

    assertThat(positions(one))
        .isEqualTo(LongStream.range(0, 10).boxed().toList())
        .isEqualTo(positions(two));
  }

  @Test
  void a_mask_function_is_held_to_its_contract() {
    var layer = new Linear(draw.normal(6, 4), null);
    Tensor ten = zeros(24);
    ten.narrow(0, 0, 10).fill_(new Scalar(1));

    assertThatThrownBy(() -> create(masked(ones(4, 6)), layer))
        .hasMessage("the mask of layer is [4, 6] but the weight is [6, 4]");
    assertThatThrownBy(() -> create(masked(ones(6, 4)), layer))
        .hasMessage("the mask of layer has 24 ones but r·(out + in) = 1·(6 + 4) = 10 are needed");
    for (double stray : new double[] {0.5, 7}) {
      Tensor mask = ten.clone();
      mask.narrow(0, 12, 1).fill_(new Scalar(stray));
      assertThatThrownBy(() -> create(masked(mask.view(6, 4)), layer))
          .isInstanceOf(ConfigException.class)
          .hasMessage("the mask of layer has the entry %s but its entries are 0 or 1", stray);
    }
    assertThat(create(masked(ten.view(6, 4).to(ScalarType.Bool)), layer).support().count())
        .isEqualTo(10);
  }

  private static ShiraConfig masked(Tensor mask) {
    return ShiraConfig.defaults().withR(1).withMask("mine", (_, _) -> mask);
  }

  @ParameterizedTest
  @CsvSource({"RANDOM", "WEIGHT_MAGNITUDE", "STRUCT"})
  void entries_of_other_adapters_can_be_left_out(ShiraMask.Known mask) {
    var layer = new Linear(draw.normal(12, 10), null);
    ShiraLinear one = create(TWO.withMask(mask), layer);
    layer.adapters().attach("one", one);

    ShiraLinear two = create(TWO.withMask(mask).withNonOverlapWith("one", "absent"), layer);

    assertThat(positions(two)).hasSize(44).doesNotContainAnyElementsOf(positions(one));
    layer.adapters().attach("two", two);
    assertThatThrownBy(() -> create(TWO.withMask(mask).withNonOverlapWith("one", "two"), layer))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "layer has 32 entries that [one, two] leave free but r 2 needs 44; take a smaller r, or"
                + " allow an overlap");
  }

  @Test
  void all_entries_can_be_trained_but_not_more() {
    var square = new Linear(draw.normal(4, 4), null);

    assertThat(positions(create(TWO, square))).hasSize(16);
    assertThatThrownBy(() -> create(TWO.withR(3), square))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "layer is [4, 4] with 16 entries but r 3 would train 24 of them; take an r of at most"
                + " 2");
  }

  @Test
  void a_word_that_is_no_mask_needs_a_function_or_a_file() {
    var layer = new Linear(draw.normal(6, 4), null);
    ShiraConfig config = TWO.withR(1).withMask(ShiraMask.of("mystery"));

    assertThat(config.warnings(layer))
        .containsExactly(
            "mask_type mystery has no mask function here, so the entries can only come from a"
                + " file");
    assertThatThrownBy(() -> create(config, layer))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "mask_type is mystery, which is no mask of this library, and layer has no entries from"
                + " a file; use random, weight_magnitude, gradient, snip or struct, or set a mask"
                + " function");
  }

  @Test
  void there_are_as_many_parameters_as_lora_of_that_rank_would_have() {
    var layer = new Linear(draw.normal(40, 24), null);
    var adapter = create(TWO.withR(3), layer);

    assertThat(adapter.parameters().values().stream().mapToLong(Tensor::numel).toArray())
        .isEqualTo(new long[] {3 * (40 + 24)});
    assertThat(Arrays.toString(adapter.indices().shape())).isEqualTo("[2, 192]");
  }
}
