package espalier.adapters.lora;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Rows;
import espalier.nn.TransposedLinear;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class BlockDiagonalTest {

  private final Tree.Draw draw = new Tree.Draw(6);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static LoraConfigBuilder config(
      @Nullable List<String> a, @Nullable List<String> b, int blocks) {
    return LoraConfig.builder()
        .r(4)
        .alpha(6)
        .targets(Targets.named("layer"))
        .variant(new LoraVariant.Bdlora(a, b, blocks, true));
  }

  private static LoraConfigBuilder config(String side, int blocks) {
    List<String> names = List.of("lay");
    return side.equals("A") ? config(names, null, blocks) : config(null, names, blocks);
  }

  private LoraLinear filled(LoraLinear adapter) {
    try (var _ = new NoGradGuard()) {
      adapter.parameters().values().forEach(p -> p.copy_(draw.normal(p.shape())));
    }
    return adapter;
  }

  @ParameterizedTest
  @CsvSource({"A, 2", "A, 4", "B, 2", "B, 4"})
  void output_and_gradients_are_those_of_the_whole_matrix(String side, int blocks) {
    for (boolean transposed : new boolean[] {true, false}) {
      Linear layer =
          transposed
              ? new TransposedLinear(draw.normal(8, 12), draw.normal(12))
              : new Linear(draw.normal(12, 8), null);
      var adapter =
          filled((LoraLinear) config(side, blocks).build().create(layer, "layer", Init.shared(1)));
      adapter.trainable(true);
      Tensor x = draw.normal(3, 5, 8).set_requires_grad(true);
      Tensor g = draw.normal(3, 5, 12);
      Tensor y = adapter.first(x);
      y.mul(g).sum().backward();
      List<Tensor> leaves = List.of(adapter.a(), adapter.b(), x);
      List<Tensor> own = leaves.stream().map(leaf -> leaf.grad().clone()).toList();
      leaves.forEach(leaf -> leaf.mutable_grad().zero_());

      Tensor expected = layer.base(x).add(x.matmul(adapter.deltaWeight().t()));
      expected.mul(g).sum().backward();

      assertThat(gap(y, expected)).isLessThan(1e-4);
      assertThat(gap(adapter.forward(x, layer.base(x)), expected)).isLessThan(1e-4);
      for (int i = 0; i < own.size(); i++) {
        assertThat(gap(own.get(i), leaves.get(i).grad())).isLessThan(1e-3);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"A", "B"})
  void no_rows_give_no_rows(String side) {
    var layer = new Linear(draw.normal(12, 8), null);
    var adapter = (LoraLinear) config(side, 2).build().create(layer, "layer", Init.shared(1));

    Tensor y = adapter.first(draw.normal(0, 5, 8));

    assertThat(y.shape()).containsExactly(0, 5, 12);
  }

  @Test
  void block_i_acts_on_slice_i() {
    Tensor packed = Tensor.create(new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 4, 2);

    Tensor whole = Blocks.whole(packed, 2);

    Tensor expected =
        Tensor.create(new float[] {1, 2, 0, 0, 3, 4, 0, 0, 0, 0, 5, 6, 0, 0, 7, 8}, 4, 4);
    assertThat(whole.equal(expected)).isTrue();
  }

  @ParameterizedTest
  @CsvSource({"A", "B"})
  void one_block_is_plain_lora(String side) {
    var layer = new Linear(draw.normal(12, 8), draw.normal(12));
    var blocked =
        filled((LoraLinear) config(side, 1).build().create(layer, "layer", Init.shared(1)));
    var plain =
        (LoraLinear)
            config(side, 1)
                .variant(new LoraVariant.Plain())
                .build()
                .create(layer, "layer", Init.shared(1));
    try (var _ = new NoGradGuard()) {
      plain.a().copy_(blocked.a());
      plain.b().copy_(blocked.b());
    }
    Tensor x = draw.normal(5, 8);

    assertThat(gap(blocked.first(x), plain.first(x))).isLessThan(1e-5);
    assertThat(blocked.deltaWeight().equal(plain.deltaWeight())).isTrue();
  }

  @ParameterizedTest
  @CsvSource({"A", "B"})
  void it_merges_unmerges_and_serves_rows(String side) {
    var layer = new Linear(draw.normal(12, 8), draw.normal(12));
    var adapters = Tree.adapters(layer);
    adapters.attach("one", config(side, 2).build(), 1);
    adapters.add("two", config(side, 4).build(), AttachOptions.seeded(2));
    Tensor x = draw.normal(3, 4, 8);
    Tensor base = layer.base(x);
    boolean nothing = layer.forward(x).equal(base);
    filled((LoraLinear) there(adapters.on("one").get("layer")));
    filled((LoraLinear) there(adapters.on("two").get("layer")));
    Tensor before = layer.weight().clone();
    Tensor one = layer.forward(x);

    Tensor mixed = adapters.mixed(List.of("one", Rows.BASE, "two"), 3, () -> layer.forward(x));
    adapters.merge(true);
    Tensor merged = layer.forward(x);
    adapters.unmerge();
    adapters.setActive(List.of("two"));

    assertThat(nothing).isTrue();
    assertThat(gap(one, merged)).isLessThan(1e-4);
    assertThat(layer.weight().equal(before)).isTrue();
    assertThat(gap(mixed.select(0, 0), one.select(0, 0))).isLessThan(1e-4);
    assertThat(gap(mixed.select(0, 1), base.select(0, 1))).isLessThan(1e-5);
    assertThat(gap(mixed.select(0, 2), layer.forward(x).select(0, 2))).isLessThan(1e-4);
  }

  @Test
  void a_packed_a_is_drawn_by_hes_rule_and_a_packed_b_is_zero() {
    var layer = new Linear(draw.normal(64, 256), null);

    var inA = (LoraLinear) config("A", 4).build().create(layer, "layer", Init.shared(1));
    var inB = (LoraLinear) config("B", 4).build().create(layer, "layer", Init.shared(1));

    double bound = Math.sqrt(6.0 / 64);
    assertThat(inA.a().shape()).containsExactly(4, 64);
    assertThat(inA.a().abs().max().item_double()).isBetween(0.9 * bound, bound);
    assertThat(inB.b().shape()).containsExactly(64, 1);
    assertThat(inB.b().abs().max().item_double()).isZero();
  }

  @Test
  void what_does_not_fit_is_refused_by_path_and_field() {
    var layer = new Linear(draw.normal(12, 8), null);

    assertThatThrownBy(
            () ->
                config(List.of("lay"), List.of("yer"), 2)
                    .build()
                    .create(layer, "layer", Init.blank()))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "layer is meant by target_modules_bd_a [lay] and by target_modules_bd_b [yer], but only"
                + " one factor can be block-diagonal; make the names longer");
    assertThatThrownBy(
            () -> config(List.of("q"), null, 2).build().create(layer, "layer", Init.blank()))
        .hasMessage(
            "layer is in neither target_modules_bd_a nor target_modules_bd_b of use_bdlora; name"
                + " it, or set match_strict to false for plain LoRA there");
    assertThatThrownBy(() -> config("A", 3).build().create(layer, "layer", Init.blank()))
        .hasMessage(
            "layer has inputs 8, which use_bdlora.nblocks 3 does not divide; choose a divisor of"
                + " it");
    assertThatThrownBy(() -> config("B", 3).build().create(layer, "layer", Init.blank()))
        .hasMessage(
            "layer has r 4, which use_bdlora.nblocks 3 does not divide; choose a divisor of it");
    assertThatThrownBy(
            () -> config("B", 2).loraBias(true).build().create(layer, "layer", Init.blank()))
        .hasMessage("layer has a block-diagonal B, which has no bias; turn lora_bias off");
    assertThatThrownBy(() -> config("A", 2).init(new LoraInit.Olora()).build())
        .hasMessageContaining("use_bdlora draws its own factors");
  }

  @Test
  void a_layer_that_is_not_named_is_plain_where_that_is_allowed() {
    var layer = new Linear(draw.normal(12, 8), null);
    var config =
        config("A", 2).variant(new LoraVariant.Bdlora(List.of("q"), null, 2, false)).build();

    assertThat(config.create(layer, "layer", Init.blank()).getClass()).isEqualTo(LoraLinear.class);
  }
}
