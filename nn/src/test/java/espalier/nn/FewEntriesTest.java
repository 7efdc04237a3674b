package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.from_blob;

import java.util.List;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Adapters of a few entries, in the weight while they train and while they are merged. */
class FewEntriesTest {

  /** Adds to a few entries, or pretends to change all of them. */
  private static final class Few extends Adapter {
    private final Linear layer;
    private final Tensor positions;
    private final Tensor values;
    private final boolean dense;

    Few(Linear layer, boolean dense, double value, long... positions) {
      this.layer = layer;
      this.dense = dense;
      this.positions = Scope.own(Tensor.create(positions));
      values = parameter("values", Init.shared(7).zero(positions.length).add(new Scalar(value)));
    }

    @Override
    public Tensor forward(Tensor x, Tensor y) {
      return y.add(layer.base(x, deltaWeight().to(x.scalar_type().intern()), null));
    }

    @Override
    public Linear layer() {
      return layer;
    }

    @Override
    public @Nullable Entries entries() {
      return dense ? null : new Entries(positions, values, scale());
    }

    @Override
    public Tensor deltaWeight() {
      Tensor delta = layer.originalWeight().new_zeros(layer.out() * layer.in());
      return delta
          .to(ScalarType.Float)
          .index_copy_(0, positions, times(values, scale()))
          .view(layer.out(), layer.in());
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

  /** A layer whose weight nobody else holds. */
  private static Linear layer(ScalarType dtype) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      return new Linear(Init.shared(1).normal(1, 4, 6).to(dtype), null);
    }
  }

  private static Few on(Linear layer, String name, double value, long... positions) {
    var few = new Few(layer, false, value, positions);
    layer.adapters().attach(name, few);
    return few;
  }

  private static long address(Linear layer) {
    return layer.presentWeight().data_ptr().address();
  }

  private static void merge(Linear layer, String... names) {
    try (Merge merge = Objects.requireNonNull(layer.adapters().prepareMerge(List.of(names)))) {
      merge.commit();
    }
  }

  private static void switchTo(Linear layer, String... names) {
    try (Merge merge = Objects.requireNonNull(layer.adapters().prepareSwitch(List.of(names)))) {
      merge.commit();
    }
  }

  private static boolean same(Linear layer, Tensor copy) {
    return layer.presentWeight().equal(copy);
  }

  private static Tensor copy(Linear layer) {
    return layer.presentWeight().clone();
  }

  @Test
  void in_training_they_stand_in_the_weight_until_somebody_asks_for_it() {
    Linear layer = layer(ScalarType.Float);
    Few few = on(layer, "one", 2, 0, 7);
    Tensor before = copy(layer);
    long address = address(layer);
    layer.adapters().activate(List.of("one"));
    layer.train(true);

    layer.adapters().weightWith(few);
    boolean inside = !same(layer, before);
    layer.weight();

    assertThat(inside).isTrue();
    assertThat(same(layer, before)).isTrue();
    assertThat(address(layer)).isEqualTo(address);
  }

  @Test
  void outside_of_training_and_beside_another_holder_the_weight_is_copied() {
    Linear layer = layer(ScalarType.Float);
    Few few = on(layer, "one", 2, 0, 7);
    Tensor before = copy(layer);
    layer.adapters().activate(List.of("one"));

    Tensor idle = layer.adapters().weightWith(few);
    layer.train(true);
    var held = new Tensor(layer.weight());
    Tensor shared = layer.adapters().weightWith(few);

    assertThat(idle.equal(shared)).isTrue();
    assertThat(idle.equal(before)).isFalse();
    assertThat(same(layer, before)).isTrue();
    assertThat(held.equal(before)).isTrue();
  }

  @ParameterizedTest
  @EnumSource(
      value = ScalarType.class,
      names = {"Float", "BFloat16"})
  void many_steps_leave_no_trace_in_the_weight(ScalarType dtype) {
    Linear layer = layer(dtype);
    Few few = on(layer, "one", 0, 0, 7, 23);
    Tensor before = copy(layer);
    layer.adapters().activate(List.of("one"));
    layer.train(true);
    try (var _ = new NoGradGuard()) {
      for (int step = 0; step < 100; step++) {
        few.values.add_(new Scalar(0.013));
        layer.adapters().weightWith(few);
      }
    }
    Tensor inside = copy(layer);

    layer.adapters().disable();

    Tensor expected = few.mergedInto(before);
    assertThat(inside.equal(expected)).isTrue();
    assertThat(same(layer, before)).isTrue();
  }

  @Test
  void whatever_changes_what_is_in_force_takes_them_out_first() {
    Linear layer = layer(ScalarType.Float);
    Few few = on(layer, "one", 2, 0, 7);
    Tensor before = copy(layer);
    layer.adapters().activate(List.of("one"));
    layer.train(true);
    List<Runnable> changes =
        List.of(
            () -> layer.train(false),
            () -> layer.parameters(),
            () -> layer.originalWeight(),
            () -> layer.base(before),
            () -> few.scale(0.5),
            () -> on(layer, "two", 1, 3),
            () -> layer.adapters().detach("two"),
            () -> layer.adapters().detach("one"));

    for (Runnable change : changes) {
      layer.train(true);
      layer.adapters().weightWith(few);
      boolean inside = !same(layer, before);
      change.run();
      assertThat(inside).isTrue();
      assertThat(same(layer, before)).isTrue();
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = ScalarType.class,
      names = {"Float", "BFloat16"})
  void merging_writes_in_place_and_unmerging_brings_back_every_bit(ScalarType dtype) {
    Linear layer = layer(dtype);
    Few one = on(layer, "one", 0.3, 1, 2);
    Tensor before = copy(layer);
    long address = address(layer);

    merge(layer, "one");
    Tensor merged = copy(layer);
    long during = address(layer);
    layer.adapters().unmerge();

    assertThat(merged.equal(one.mergedInto(before))).isTrue();
    assertThat(during).isEqualTo(address);
    assertThat(same(layer, before)).isTrue();
  }

  @Test
  void of_overlapping_adapters_each_may_go_first() {
    Linear layer = layer(ScalarType.BFloat16);
    Few one = on(layer, "one", 0.3, 1, 2, 9);
    Few two = on(layer, "two", -0.7, 2, 9, 10);
    Tensor before = copy(layer);
    Tensor onlyOne = one.mergedInto(before);
    Tensor onlyTwo = two.mergedInto(before);

    merge(layer, "one", "two");
    Tensor both = copy(layer);
    switchTo(layer, "two");
    boolean rebuilt = same(layer, onlyTwo);
    switchTo(layer, "one", "two");
    boolean again = same(layer, both);
    switchTo(layer, "one");
    boolean lastGone = same(layer, onlyOne);
    switchTo(layer);

    assertThat(both.equal(two.mergedInto(onlyOne))).isTrue();
    assertThat(rebuilt).isTrue();
    assertThat(again).isTrue();
    assertThat(lastGone).isTrue();
    assertThat(same(layer, before)).isTrue();
    assertThat(layer.adapters().merged()).isEmpty();
  }

  @Test
  void a_switch_that_is_not_committed_leaves_everything_as_it_was() {
    Linear layer = layer(ScalarType.Float);
    on(layer, "one", 0.3, 1, 2, 9);
    on(layer, "two", Double.NaN, 2, 9, 10);
    merge(layer, "one");
    Tensor merged = copy(layer);

    boolean finite;
    try (Merge merge = Objects.requireNonNull(layer.adapters().prepareSwitch(List.of("two")))) {
      finite = merge.finite();
    }

    assertThat(finite).isFalse();
    assertThat(same(layer, merged)).isTrue();
    assertThat(layer.adapters().merged()).containsExactly("one");
  }

  @Test
  void another_scale_of_a_merged_adapter_is_written_anew_and_leaves_no_residue() {
    Linear layer = layer(ScalarType.Float);
    Few one = on(layer, "one", 0.3, 1, 2, 9);
    Few two = on(layer, "two", 0.4, 2, 9, 10);
    Tensor before = copy(layer);
    merge(layer, "one", "two");

    one.scale(-2);
    Tensor scaled = copy(layer);
    layer.adapters().unmerge();

    assertThat(same(layer, before)).isTrue();
    assertThat(scaled.equal(two.mergedInto(one.mergedInto(before)))).isTrue();
  }

  @Test
  void they_merge_below_and_above_an_adapter_that_changes_everything() {
    Linear layer = layer(ScalarType.BFloat16);
    on(layer, "few", 0.3, 1, 2, 9);
    layer.adapters().attach("all", new Few(layer, true, 0.5, 2, 3));
    on(layer, "more", 0.4, 3, 4);
    Tensor before = copy(layer);

    merge(layer, "few");
    merge(layer, "all");
    merge(layer, "more");
    boolean original = layer.originalWeight().equal(before);
    switchTo(layer, "few");
    Tensor switched = copy(layer);
    layer.adapters().unmerge();
    boolean unmerged = same(layer, before);
    merge(layer, "few");

    assertThat(original).isTrue();
    assertThat(unmerged).isTrue();
    assertThat(same(layer, switched)).isTrue();
  }

  @Test
  void a_weight_that_two_layers_share_is_merged_into_one_of_them_only() {
    Linear one = layer(ScalarType.Float);
    var other = new Linear(one.weight(), null);
    on(one, "one", 2, 0, 7);
    Tensor before = copy(one);

    merge(one, "one");
    boolean merged = !same(one, before);
    boolean untouched = same(other, before);
    one.adapters().unmerge();

    assertThat(merged).isTrue();
    assertThat(untouched).isTrue();
    assertThat(same(one, before)).isTrue();
    assertThat(address(one)).isEqualTo(address(other));
  }

  @Test
  void memory_that_somebody_else_made_is_never_written_to() {
    Tensor owner = Init.shared(1).normal(1, 4, 6);
    Linear layer;
    try (var _ = Scope.open()) {
      layer =
          new Linear(
              from_blob(owner.data_ptr(), new long[] {4, 6}, new TensorOptions(ScalarType.Float)),
              null);
    }
    Tensor before = owner.clone();
    on(layer, "one", 2, 0, 7);

    boolean outside = !layer.ownsWeight();
    PrivateMemory.announce(owner.data_ptr().address());
    boolean announced = layer.ownsWeight();
    PrivateMemory.forget(owner.data_ptr().address());
    merge(layer, "one");

    assertThat(outside).isTrue();
    assertThat(announced).isTrue();
    assertThat(same(layer, before)).isFalse();
    assertThat(owner.equal(before)).isTrue();
  }

  @Test
  void what_is_settled_stays() {
    Linear layer = layer(ScalarType.Float);
    on(layer, "one", 2, 0, 7);
    merge(layer, "one");
    Tensor merged = copy(layer);

    layer.adapters().settle();

    assertThat(same(layer, merged)).isTrue();
    assertThat(layer.originalWeight().equal(merged)).isTrue();
  }
}
