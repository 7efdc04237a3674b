package espalier.adapters.shira;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.Adapters;
import espalier.adapters.LoadOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.nn.Linear;
import espalier.nn.TransposedLinear;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** SHiRA on GPT-2's Conv1D, which stores its weight as [in, out]. */
class ShiraConv1dTest {

  private static final ShiraConfig CONFIG =
      ShiraConfig.defaults()
          .withR(2)
          .withZeroStart(false)
          .withTargets(Targets.named("layer"))
          .withOptions(MaskOptions.defaults().withConv1d(true));

  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static Tensor weight() {
    return new Tree.Draw(4).normal(10, 12); // [in, out], as it is stored
  }

  private static Adapters on(Linear layer) {
    return Adapters.of(Tree.empty().with("layer", layer), ModelFacts.of("gpt2"));
  }

  private static Linear turned() {
    return new TransposedLinear(weight(), null);
  }

  private static ShiraLinear shira(Adapters adapters) {
    return (ShiraLinear) there(adapters.on("one").get("layer"));
  }

  @Test
  void it_computes_and_learns_as_on_the_transposed_linear_layer() {
    Tensor x = new Tree.Draw(5).normal(3, 10);
    var outputs = new ArrayList<Tensor>();
    var gradients = new ArrayList<Tensor>();

    for (Linear layer : new Linear[] {turned(), new Linear(weight().t().contiguous(), null)}) {
      Adapters adapters = on(layer);
      adapters.attach("one", CONFIG, 1);
      layer.train(true);
      Tensor y = layer.forward(x);
      y.sin().sum().backward();
      outputs.add(y);
      gradients.add(new Tensor(shira(adapters).values().grad()));
    }

    assertThat(gap(outputs.get(0), outputs.get(1))).isLessThan(1e-5);
    assertThat(gap(gradients.get(0), gradients.get(1))).isLessThan(1e-5);
  }

  @ParameterizedTest
  @EnumSource(names = {"Float", "BFloat16"})
  void merged_it_computes_the_same_and_unmerged_the_weight_is_what_it_was(ScalarType dtype) {
    Linear layer = new TransposedLinear(weight().to(dtype), null);
    Adapters adapters = on(layer);
    adapters.attach("one", CONFIG, 1);
    Tensor before = layer.storedWeight().clone();
    Tensor x = new Tree.Draw(5).normal(3, 10).to(dtype);
    try (var _ = new NoGradGuard()) {
      Tensor unmerged = layer.forward(x).to(ScalarType.Double);

      adapters.merge(true);

      double bound = dtype == ScalarType.Float ? 1e-5 : 0.1;
      assertThat(gap(layer.forward(x).to(ScalarType.Double), unmerged)).isLessThan(bound);
      assertThat(layer.storedWeight().equal(before)).isFalse();
      adapters.unmerge();
      assertThat(layer.storedWeight().equal(before)).isTrue();
    }
  }

  @Test
  void the_file_has_rows_and_columns_of_the_matrix_as_it_is_stored() {
    Linear layer = turned();
    Adapters adapters = on(layer);
    adapters.attach("one", CONFIG, 1);

    Map<String, Tensor> state = adapters.state("one");

    Tensor indices = there(state.get("base_model.model.layer.shira_indices")).to(ScalarType.Long);
    Tensor values = there(state.get("base_model.model.layer.shira_weight"));
    Tensor flat = indices.select(0, 0).mul(new Scalar(12)).add(indices.select(0, 1));
    Tensor dense = values.new_zeros(120).index_copy_(0, flat, values).view(10, 12);
    assertThat(dense.t().equal(shira(adapters).deltaWeight().detach())).isTrue();
    assertThat(flat.equal(flat.sort().get0())).isTrue();
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void what_was_saved_is_loaded(boolean compact) {
    ShiraConfig config = CONFIG.withOptions(CONFIG.options().withCompact(compact));
    Adapters adapters = on(turned());
    adapters.attach("one", config, 1);
    var copies = new LinkedHashMap<String, Tensor>();
    adapters.state("one").forEach((key, tensor) -> copies.put(key, tensor.clone()));

    Adapters others = on(turned());
    others.load("one", config, copies, LoadOptions.defaults().withStrict(true));

    assertThat(shira(others).deltaWeight().equal(shira(adapters).deltaWeight())).isTrue();
  }

  @Test
  void two_of_them_are_fused() {
    Linear layer = turned();
    Adapters adapters = on(layer);
    adapters.attach("one", CONFIG, 1);
    adapters.attach("two", CONFIG.withRandomSeed(9L), 2);
    Tensor sum =
        shira(adapters).deltaWeight().add(there(adapters.on("two").get("layer")).deltaWeight());

    var weights = new LinkedHashMap<String, Double>();
    weights.put("one", 1.0);
    weights.put("two", 1.0);
    Fusion.of(adapters, weights).attachAs("both");

    assertThat(gap(there(adapters.on("both").get("layer")).deltaWeight(), sum)).isLessThan(1e-5);
  }
}
