package espalier.adapters.hira;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.Adapters;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.nn.Adapter;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.HashMap;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** HiRA with W ⊙ (1 + M) kept between calls. */
class ServedWeightTest {

  private final Tree.Draw draw = new Tree.Draw(4);
  private final Scope scope = Scope.open();
  private Linear layer = new Linear(draw.normal(6, 8), draw.normal(6));
  private Adapters adapters = attached();

  @BeforeEach
  void serve() {
    adapters.keepWhenServing("one", true);
    layer.train(false);
  }

  @AfterEach
  void close() {
    scope.close();
  }

  private Adapters attached() {
    Adapters all = Tree.adapters(layer);
    HiraConfig config = HiraConfig.defaults().withR(2).withInit(HiraInit.UNSET);
    all.attach("one", config.withTargets(Targets.named("layer")), 1);
    return all;
  }

  private Adapter adapter() {
    return there(adapters.on("one").get("layer"));
  }

  private Tensor kept(Tensor x) {
    try (var _ = new NoGradGuard()) {
      return layer.forward(x);
    }
  }

  private double gapToFormula(Tensor x) {
    try (var _ = new NoGradGuard()) {
      Tensor w = layer.originalWeight().to(ScalarType.Float).add(adapter().deltaWeight());
      Tensor y = x.to(ScalarType.Float).matmul(w.t());
      Tensor bias = layer.bias();
      Tensor whole = bias == null ? y : y.add(bias.to(ScalarType.Float));
      return kept(x).to(ScalarType.Float).sub(whole).abs().max().item_double();
    }
  }

  @Test
  void what_is_kept_gives_what_is_formed_anew() {
    Tensor x = draw.normal(3, 8);

    assertThat(gapToFormula(x)).isLessThan(1e-5);
    assertThat(kept(x).equal(kept(x))).isTrue();
    adapters.keepWhenServing("one", false);
    assertThat(gapToFormula(x)).isLessThan(1e-5);
  }

  @Test
  void the_weight_is_not_formed_again_for_a_second_call() {
    Tensor x = draw.normal(3, 8);
    Tensor first = kept(x);

    // a change that leaves no trace: only what was kept does not know it
    Tensor b = there(adapter().parameters().get("hira_B"));
    float before = b.data_ptr_float().get(0);
    b.data_ptr_float().put(0, before + 1);
    Tensor second = kept(x);
    b.data_ptr_float().put(0, before);

    assertThat(second.equal(first)).isTrue();
  }

  @Test
  void a_training_step_a_file_a_factor_and_another_base_are_followed() {
    Tensor x = draw.normal(3, 8);
    Tensor first = kept(x);

    try (var _ = new NoGradGuard()) {
      adapter().parameters().values().forEach(p -> p.add_(new Scalar(0.1)));
    }
    assertThat(gapToFormula(x)).as("a step").isLessThan(1e-5);
    assertThat(kept(x).equal(first)).isFalse();

    var file = new HashMap<String, Tensor>();
    adapter().state().forEach((name, p) -> file.put(name, p.detach().mul(new Scalar(0.5))));
    adapter().load(file);
    assertThat(gapToFormula(x)).as("a file").isLessThan(1e-5);

    adapters.setScale("one", 0.25);
    assertThat(gapToFormula(x)).as("a factor").isLessThan(1e-5);

    layer.rebase(draw.normal(6, 8));
    assertThat(gapToFormula(x)).as("another base").isLessThan(1e-5);

    adapters.merge(false);
    assertThat(kept(x).sub(layer.base(x)).abs().max().item_double()).as("merged").isZero();
  }

  @Test
  void training_and_gradients_go_past_it() {
    Tensor x = draw.normal(3, 8);
    Tensor _ = kept(x);
    try (var _ = Scope.graph()) {
      layer.train(true);
      layer.forward(x).sum().backward();

      Tensor gradient = new Tensor(there(adapter().parameters().get("hira_B")).grad());
      assertThat(gradient.abs().max().item_double()).isGreaterThan(0.01);
    }
    layer.train(false);
    assertThat(gapToFormula(x)).isLessThan(1e-5);
  }

  @ParameterizedTest
  @EnumSource(
      value = ScalarType.class,
      names = {"BFloat16", "Half"})
  void in_half_precision_a_young_adapter_is_not_rounded_away(ScalarType dtype) {
    layer = new Linear(draw.normal(6, 8).to(dtype), null);
    adapters = attached();
    serve();
    try (var _ = new NoGradGuard()) { // |M| is about 2⁻¹², which 1 + M rounds away
      Map<String, Tensor> parameters = adapter().parameters();
      there(parameters.get("hira_A")).fill_(new Scalar(1.0 / 64));
      there(parameters.get("hira_B")).fill_(new Scalar(1.0 / 128));
    }
    // the base gives nothing that could hide the branch
    Tensor w = layer.weight().select(0, 0).to(ScalarType.Float);
    Tensor x = draw.normal(1, 8);
    x.sub_(w.mul(x.mul(w).sum().div(w.square().sum())));

    assertThat(gapToFormula(x.to(dtype))).isLessThan(0.05);
    try (var _ = new NoGradGuard()) {
      Tensor served = kept(x.to(dtype));
      adapters.keepWhenServing("one", false);
      assertThat(served.sub(kept(x.to(dtype))).abs().max().item_double()).isLessThan(0.02);
    }
  }
}
