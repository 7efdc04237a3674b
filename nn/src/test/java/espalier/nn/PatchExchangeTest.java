package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.randperm;

import java.util.List;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

/** Entries that are written in memory, beside the same entries written by the library. */
class PatchExchangeTest {

  private static final long OUT = 500;
  private static final long IN = 600; // several blocks, the last one not whole
  private static final long COUNT = 90_000; // enough for a second thread

  /** Changes entries whose positions are int32, as the memory way takes them, or int64. */
  private static final class Few extends Adapter {
    private final Linear layer;
    private final Tensor positions;
    private final Tensor values;

    Few(Linear layer, long seed, ScalarType width) {
      this.layer = layer;
      positions =
          Scope.owned(
              () -> {
                org.bytedeco.pytorch.global.torch.manual_seed(seed);
                Tensor some = randperm(OUT * IN).narrow(0, 0, COUNT).sort().get0();
                return some.to(width);
              });
      values = parameter("values", Init.shared(seed).normal(0.1, COUNT));
    }

    @Override
    public Tensor forward(Tensor x, Tensor y) {
      throw new UnsupportedOperationException("not asked for here");
    }

    @Override
    public Linear layer() {
      return layer;
    }

    @Override
    public Entries entries() {
      return new Entries(positions, values, scale());
    }

    @Override
    public Tensor deltaWeight() {
      throw new UnsupportedOperationException("not asked for here");
    }

    @Override
    public void close() {
      super.close();
      positions.close();
    }
  }

  private Scope scope = Scope.open();

  @BeforeEach
  void open() {
    scope.close();
    scope = Scope.open();
  }

  @AfterEach
  void close() {
    scope.close();
  }

  private static Linear layer(ScalarType dtype, ScalarType width) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      var layer = new Linear(Init.shared(1).normal(1, OUT, IN).to(dtype), null);
      layer.adapters().attach("a", new Few(layer, 2, width));
      layer.adapters().attach("b", new Few(layer, 3, width));
      return layer;
    }
  }

  private static Few adapter(Linear layer, String name) {
    return (Few) Objects.requireNonNull(layer.adapters().find(name));
  }

  private static void switchTo(Linear layer, String... names) {
    try (Merge merge = Objects.requireNonNull(layer.adapters().prepareSwitch(List.of(names)))) {
      merge.commit();
    }
  }

  // In a scope of its own: a layer whose weight somebody else holds is not written to.
  private static Tensor bits(Linear layer) {
    return Scope.result(() -> bits(layer.presentWeight()).clone());
  }

  // compared as whole numbers, so that -0 is not 0 and NaN is itself
  private static Tensor bits(Tensor tensor) {
    boolean half = tensor.scalar_type().intern() == ScalarType.BFloat16;
    return tensor.view(half ? ScalarType.Short : ScalarType.Int);
  }

  @ParameterizedTest
  @CsvSource({"Float, 1", "BFloat16, 1", "Float, 0.3", "BFloat16, -2"})
  void they_are_the_same_bit_for_bit_whoever_writes_them(ScalarType dtype, double scale) {
    Linear direct = layer(dtype, ScalarType.Int);
    Linear library = layer(dtype, ScalarType.Long);
    Tensor before = bits(direct);
    List<String[]> switches =
        List.of(
            new String[] {"a"},
            new String[] {"b"},
            new String[] {"a"},
            new String[] {"b"},
            new String[] {"b", "a"},
            new String[] {"a", "b"},
            new String[] {"a"},
            new String[] {"b"},
            new String[] {"a"});

    for (Linear layer : List.of(direct, library)) {
      adapter(layer, "a").scale(scale);
    }

    for (String[] names : switches) {
      switchTo(direct, names);
      switchTo(library, names);
      assertThat(bits(direct).equal(bits(library))).as(String.join(", ", names)).isTrue();
    }
    switchTo(direct);
    assertThat(bits(direct).equal(before)).isTrue();
  }

  @ParameterizedTest
  @EnumSource(
      value = ScalarType.class,
      names = {"Float", "BFloat16"})
  void odd_numbers_come_out_as_the_library_has_them(ScalarType dtype) {
    Linear direct = layer(dtype, ScalarType.Int);
    Linear library = layer(dtype, ScalarType.Long);
    float[] odd = {
      0f,
      -0f,
      1e-40f,
      Float.MIN_VALUE,
      Float.MAX_VALUE,
      -Float.MAX_VALUE,
      Float.POSITIVE_INFINITY,
      Float.NEGATIVE_INFINITY,
      257f / 256,
      259f / 256,
      -257f / 256,
      Float.intBitsToFloat(0x3F80_8001)
    };
    for (Linear layer : List.of(direct, library)) {
      try (var _ = Scope.open();
          var _ = new NoGradGuard()) {
        Tensor values = adapter(layer, "a").values;
        values.copy_(Tensor.create(odd).repeat(COUNT / odd.length));
        layer.presentWeight().view(-1).narrow(0, 0, OUT * IN / 2).zero_();
      }
    }

    switchTo(direct, "a");
    switchTo(library, "a");

    assertThat(bits(direct).equal(bits(library))).isTrue();
  }

  @ParameterizedTest
  @EnumSource(
      value = ScalarType.class,
      names = {"Float", "BFloat16"})
  void one_entry_that_is_not_a_number_is_seen(ScalarType dtype) {
    Linear layer = layer(dtype, ScalarType.Int);
    switchTo(layer, "a");
    switchTo(layer, "b");
    Tensor merged = bits(layer);
    try (var _ = new NoGradGuard()) {
      adapter(layer, "a").values.narrow(0, COUNT - 1, 1).fill_(new Scalar(Double.NaN));
    }

    boolean finite;
    try (Merge merge = Objects.requireNonNull(layer.adapters().prepareSwitch(List.of("a")))) {
      finite = merge.finite();
    }

    assertThat(finite).isFalse();
    assertThat(bits(layer).equal(merged)).isTrue();
  }

  @Test
  void a_switch_that_is_given_up_can_be_made_later() {
    Linear layer = layer(ScalarType.BFloat16, ScalarType.Int);
    switchTo(layer, "a");
    Tensor first = bits(layer);
    switchTo(layer, "b");
    Tensor second = bits(layer);

    try (Merge merge = Objects.requireNonNull(layer.adapters().prepareSwitch(List.of("a")))) {
      assertThat(merge.finite()).isTrue();
    }
    boolean back = bits(layer).equal(second);
    switchTo(layer, "a");

    assertThat(back).isTrue();
    assertThat(bits(layer).equal(first)).isTrue();
  }

  @Test
  void values_that_were_trained_since_are_written_anew() {
    Linear layer = layer(ScalarType.Float, ScalarType.Int);
    Linear fresh = layer(ScalarType.Float, ScalarType.Int);
    switchTo(layer, "a");
    switchTo(layer, "b");

    for (Linear each : List.of(layer, fresh)) {
      try (var _ = new NoGradGuard()) {
        adapter(each, "a").values.mul_(new Scalar(-3));
      }
    }
    switchTo(layer, "a");
    switchTo(fresh, "a");

    assertThat(bits(layer).equal(bits(fresh))).isTrue();
  }

  @Test
  void a_base_that_was_changed_since_is_read_anew() {
    Linear layer = layer(ScalarType.Float, ScalarType.Int);
    switchTo(layer, "a");
    switchTo(layer, "b");
    switchTo(layer, "a");
    switchTo(layer);
    switchTo(layer, "b");
    switchTo(layer, "a");
    switchTo(layer);
    Tensor other;
    try (var _ = new NoGradGuard()) {
      layer.presentWeight().add_(new Scalar(1));
      other = bits(layer);
    }

    switchTo(layer, "b");
    switchTo(layer, "a");
    switchTo(layer);

    assertThat(bits(layer).equal(other)).isTrue();
  }

  @Test
  void merges_of_many_layers_are_written_at_once() {
    List<Linear> layers =
        java.util.stream.Stream.generate(() -> layer(ScalarType.BFloat16, ScalarType.Int))
            .limit(5)
            .toList();
    Linear alone = layer(ScalarType.BFloat16, ScalarType.Int);
    List<Merge> merges =
        layers.stream()
            .map(each -> Objects.requireNonNull(each.adapters().prepareSwitch(List.of("a"))))
            .toList();

    Merge.write(merges);
    merges.forEach(Merge::commit);
    merges.forEach(Merge::close);
    switchTo(alone, "a");

    assertThat(layers).allMatch(each -> bits(each).equal(bits(alone)));
  }

  @Test
  void an_adapter_that_is_taken_away_is_forgotten() {
    Linear layer = layer(ScalarType.Float, ScalarType.Int);
    Tensor before = bits(layer);
    switchTo(layer, "a");
    switchTo(layer, "b");

    layer.adapters().detach("a");
    layer.adapters().attach("a", new Few(layer, 4, ScalarType.Int));
    switchTo(layer, "a");
    switchTo(layer, "b");
    switchTo(layer);

    assertThat(bits(layer).equal(before)).isTrue();
  }

  @Test
  void a_product_from_a_copy_of_the_weight_follows_what_is_written_past_the_library() {
    try (var _ = new NoGradGuard();
        Linear layer = layer(ScalarType.Float, ScalarType.Int)) {
      Tensor x = Init.shared(4).normal(1, 8, IN);
      for (int i = 0; i < 12; i++) { // until the layer has made its copy
        Scope.result(() -> layer.forward(x)).close();
      }

      switchTo(layer, "a");

      Tensor expected = Scope.result(() -> x.matmul(layer.weight().t()));
      assertThat(layer.forward(x).sub(expected).abs().max().item_float()).isLessThan(1e-3f);
    }
  }
}
