package espalier.adapters.lora;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.offset;
import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.linalg_svdvals;

import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.LoadOptions;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.TransposedLinear;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

class KasaTest {

  private final Tree.Draw draw = new Tree.Draw(6);
  private final Linear layer = new Linear(draw.normal(8, 12), draw.normal(8));
  private final Adapters adapters = Tree.adapters(layer);
  private final Tensor x = draw.normal(5, 12);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static LoraConfigBuilder config() {
    return LoraConfig.builder()
        .r(3)
        .alpha(6)
        .targets(Targets.named("layer"))
        .variant(new LoraVariant.Kasa(1e-4, 1e-3));
  }

  private KasaLinear on(String name) {
    return (KasaLinear) there(adapters.on(name).get("layer"));
  }

  private KasaLinear filled(String name) {
    KasaLinear kasa = on(name);
    try (var _ = new NoGradGuard()) {
      kasa.parameters().values().forEach(p -> p.copy_(draw.normal(p.shape())));
    }
    return kasa;
  }

  @Test
  void the_base_loses_its_smallest_components_and_no_other() {
    Tensor before = linalg_svdvals(layer.weight());

    adapters.attach("one", config().build(), 1);

    Tensor after = linalg_svdvals(layer.weight());
    assertThat(gap(after.narrow(0, 0, 5), before.narrow(0, 0, 5))).isLessThan(1e-5);
    assertThat(after.narrow(0, 5, 3).abs().max().item_double()).isLessThan(1e-5);
    assertThat(layer.forward(x).equal(layer.base(x))).isTrue();
  }

  @Test
  void branch_gradients_merge_and_unmerge_go_by_the_diagonal() {
    adapters.attach("one", config().build(), 1);
    KasaLinear kasa = filled("one");
    Tensor left = layer.weight().clone();
    Tensor d = there(kasa.parameters().get("lora_diag"));
    Tensor g = draw.normal(5, 8);
    Tensor y = layer.forward(x);
    y.mul(g).sum().backward();
    Tensor own = d.grad().clone();
    d.mutable_grad().zero_();

    Tensor delta = kasa.b().mul(d).matmul(kasa.a()).mul(new Scalar(2));
    Tensor expected = layer.base(x).add(x.matmul(delta.t()));
    expected.mul(g).sum().backward();
    adapters.merge(true);
    Tensor merged = layer.forward(x);
    adapters.unmerge();

    assertThat(gap(y, expected)).isLessThan(1e-4);
    assertThat(gap(own, d.grad())).isLessThan(1e-3);
    assertThat(gap(y, merged)).isLessThan(1e-4);
    assertThat(layer.weight().equal(left)).isTrue();
    try (var _ = adapters.disable()) {
      assertThat(layer.forward(x).equal(layer.base(x))).isTrue();
    }
  }

  @Test
  void loading_onto_the_untouched_base_takes_the_same_out_again() {
    var pristine = new Linear(layer.weight().clone(), there(layer.bias()).clone());
    adapters.attach("one", config().build(), 1);
    filled("one");
    var other = Tree.adapters(pristine);

    other.load("one", config().build(), adapters.state("one"), LoadOptions.defaults());

    assertThat(adapters.state("one")).containsKey("base_model.model.layer.lora_diag");
    assertThat(pristine.forward(x).equal(layer.forward(x))).isTrue();
  }

  @Test
  void a_second_one_of_the_same_rank_leaves_the_base_as_it_is() {
    adapters.attach("one", config().build(), 1);
    Tensor left = layer.weight().clone();

    var same = adapters.add("two", config().build(), AttachOptions.seeded(2));
    double moved = gap(layer.weight(), left);
    var other = adapters.add("three", config().r(5).build(), AttachOptions.seeded(3));

    assertThat(moved).isLessThan(1e-5);
    assertThat(same.warnings()).isEmpty();
    assertThat(other.warnings())
        .contains(
            "r differs from that of one, so the base loses more than one of the two was trained"
                + " with");
    assertThat(linalg_svdvals(layer.weight()).narrow(0, 3, 5).max().item_double()).isLessThan(1e-5);
  }

  @Test
  void it_is_not_mixed_with_others_whichever_comes_first() {
    LoraConfig plain = config().variant(new LoraVariant.Plain()).build();
    adapters.attach("plain", plain, 1);
    Tensor before = layer.weight().clone();

    assertThatThrownBy(() -> adapters.add("kasa", config().build(), AttachOptions.seeded(2)))
        .isInstanceOf(AdapterException.class)
        .hasMessage(
            "kasa_config changes the base for good, so such an adapter can not be on one model with"
                + " plain, which has none; delete one of them first");
    assertThat(layer.weight().equal(before)).isTrue();
    assertThat(adapters.names()).containsExactly("plain");
    adapters.delete("plain");
    adapters.attach("kasa", config().build(), 2);
    assertThatThrownBy(() -> adapters.add("plain", plain, AttachOptions.seeded(1)))
        .isInstanceOf(AdapterException.class);
    assertThat(adapters.names()).containsExactly("kasa");
  }

  @Test
  void a_rank_that_leaves_nothing_and_a_transposed_weight_are_refused() {
    var transposed = new TransposedLinear(draw.normal(12, 8), null);

    assertThatThrownBy(() -> config().r(8).build().create(layer, "layer", Init.blank()))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "layer is [8, 12] and r is 8, but kasa_config drops r of its 8 components and needs one"
                + " left; use a smaller r");
    assertThatThrownBy(() -> config().build().create(transposed, "layer", Init.blank()))
        .isInstanceOf(UnsupportedAdapterException.class);
  }

  @Test
  void the_base_keeps_its_dtype() {
    var half = new Linear(draw.normal(8, 12).to(ScalarType.BFloat16), null);
    var all = Tree.adapters(half);

    all.attach("one", config().build(), 1);

    assertThat(half.weight().scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
    assertThat(all.on("one").values()).allMatch(a -> a.dtype() == ScalarType.Float);
  }

  @Test
  void the_penalty_is_its_closed_form() {
    adapters.attach("one", config().r(1).build(), 1);
    KasaLinear kasa = filled("one");
    double d = there(kasa.parameters().get("lora_diag")).item_double();
    double b = kasa.b().square().sum().item_double();
    double a = kasa.a().square().sum().item_double();

    Tensor penalty = kasa.penalty(0.5, 0.25);
    penalty.backward();

    double expected = 0.5 * d * d + 0.25 * (Math.abs(b - 1) + Math.abs(a - 1));
    assertThat(penalty.item_double()).isCloseTo(expected, offset(1e-4));
    assertThat(there(kasa.parameters().get("lora_diag")).grad().item_double())
        .isCloseTo(d, offset(1e-4));
    assertThat(List.of(kasa.a(), kasa.b())).allMatch(p -> p.grad().defined());
  }

  @Test
  void factors_with_orthonormal_columns_have_no_penalty_but_the_diagonals() {
    adapters.attach("one", config().build(), 1);
    KasaLinear kasa = on("one");
    Tensor d = there(kasa.parameters().get("lora_diag"));
    try (var _ = new NoGradGuard()) {
      kasa.a().copy_(eye(3, 12));
      kasa.b().copy_(eye(8, 3));
    }

    Tensor penalty = kasa.penalty(1, 1);
    penalty.backward();

    assertThat(penalty.item_double()).isCloseTo(d.square().sum().item_double(), offset(1e-5));
    assertThat(kasa.a().grad().isfinite().all().item_bool()).isTrue();
  }
}
