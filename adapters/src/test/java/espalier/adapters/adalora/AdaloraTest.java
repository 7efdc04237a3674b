package espalier.adapters.adalora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.ConfigException;
import espalier.adapters.Gradients;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

class AdaloraTest {

  private static final AdaloraConfig SMALL =
      AdaloraConfig.defaults(50)
          .withLora(LoraConfig.builder().targets(Targets.named("layer")).alpha(6).build())
          .withAllocation(Allocation.defaults(50).withRanks(3, 3));

  private final Tree.Draw draw = new Tree.Draw(5);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  @Test
  void the_decomposition_has_all_the_gradients_of_its_formula() {
    var branch = new SingularBranch(0.7);

    Gradients.assertSame(
        10,
        8,
        7,
        List.of(
            Gradients.leaf(draw, 3, 8), Gradients.leaf(draw, 3, 1), Gradients.leaf(draw, 10, 3)),
        branch,
        f -> branch.update(f.get(0), f.get(1), f.get(2)));
  }

  @Test
  void the_penalty_is_the_mean_distance_of_the_factors_from_orthogonal_ones() {
    var layer = new Linear(draw.normal(10, 8), null);
    AdaloraConfig config = SMALL.withOrthogonality(0.25);
    var adapter = (AdaloraLinear) config.create(layer, "layer", Init.shared(1));
    AdaloraFactors f = adapter.factors();
    adapter.train(true);

    double ours = Tree.there(config.penalty(List.of(adapter))).item_double();

    Tensor one = torch.eye(3);
    double a = f.a().mm(f.a().t()).sub(one).norm().item_double();
    double b = f.b().t().mm(f.b()).sub(one).norm().item_double();
    assertThat(ours).isCloseTo(0.25 * (a + b) / 2, org.assertj.core.data.Offset.offset(1e-6));
    adapter.train(false);
    assertThat(config.penalty(List.of(adapter))).isNull();
  }

  @Test
  void training_that_would_have_to_take_ranks_away_is_refused() {
    AdaloraConfig config = SMALL.withAllocation(Allocation.defaults(50));

    assertThatThrownBy(() -> config.penalty(List.of()))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "target_r is 8 and init_r is 12, but ranks are not taken away in training here; set"
                + " target_r to init_r, or train with LoRA");
  }

  @Test
  void a_file_whose_ranks_were_taken_away_keeps_the_scaling_of_the_first_rank() {
    var kept = Map.of("model.layer.lora_E", List.of(true, false, true));
    var config = new AdaloraConfig(SMALL.lora(), SMALL.allocation(), 0.5, kept);
    var layer = new Linear(draw.normal(10, 8), null);

    Adapter fewer = config.create(layer, "layer", Init.shared(1));

    assertThat(Tree.there(fewer.state().get("lora_A")).size(0)).isEqualTo(2);
    assertThat(config.scaling()).isCloseTo(2, org.assertj.core.data.Offset.offset(1e-4));
  }

  @Test
  void a_new_adapter_changes_nothing_and_one_with_singular_values_does() {
    var layer = new Linear(draw.normal(10, 8), draw.normal(10));
    var adapter = (AdaloraLinear) SMALL.create(layer, "layer", Init.shared(1));
    Tensor x = draw.normal(3, 8);
    boolean same = adapter.first(x).equal(layer.base(x));

    adapter.factors().e().fill_(new Scalar(30.0));

    Tensor merged = layer.base(x, adapter.mergedInto(layer.weight()), layer.bias());
    assertThat(same).isTrue();
    assertThat(merged.sub(adapter.first(x)).abs().max().item_double()).isLessThan(1e-5);
    assertThat(merged.sub(layer.base(x)).abs().max().item_double()).isGreaterThan(0.01);
    assertThat(merged.scalar_type().intern()).isEqualTo(ScalarType.Float);
  }

  @Test
  void every_field_survives_the_way_to_the_file_and_back() {
    var kept = Map.of("a.lora_E", List.of(true, false, true));
    var config =
        new AdaloraConfig(SMALL.lora(), new Allocation(3, 2, 4, 5, 6, 0.5, 0.6, 70), 0.125, kept);
    AdapterCatalog catalog = AdapterCatalog.standard();

    var read = (AdaloraConfig) catalog.read(catalog.write(config)).config();

    assertThat(read).isEqualTo(config.withHead(config.head().withInferenceMode(true)));
  }
}
