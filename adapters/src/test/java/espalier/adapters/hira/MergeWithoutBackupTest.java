package espalier.adapters.hira;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.MergeOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.NotFiniteException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.shira.ShiraConfig;
import espalier.nn.Adaptable;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;
import espalier.nn.FourBit;
import espalier.nn.FourBitWeight;
import espalier.nn.Linear;
import espalier.nn.TransposedLinear;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** HiRA merged without a copy of the base, which division brings back. */
class MergeWithoutBackupTest {

  private static final MergeOptions LIGHT = MergeOptions.defaults().withKeepBackup(false);
  private static final HiraConfig UNSET = HiraConfig.defaults().withR(2).withInit(HiraInit.UNSET);

  private final Tree.Draw draw = new Tree.Draw(4);
  @RegisterExtension final NativeScope scope = NativeScope.open();

  private Tensor normal(long... shape) {
    return draw.normal(shape).to(ScalarType.Double);
  }

  private Map<String, Adaptable> layers() {
    var geometry =
        new Convolution.Geometry(new long[] {1}, new long[] {1}, new long[] {1}, 1, "zeros");
    var layers = new LinkedHashMap<String, Adaptable>();
    layers.put("linear", new Linear(normal(6, 8), normal(6)));
    layers.put("conv1d", new TransposedLinear(normal(8, 6), null));
    layers.put("embed", new Embedding(normal(9, 5)));
    layers.put("conv", new Convolution(normal(4, 3, 3), null, geometry));
    layers.put("m.experts", new ExpertWeight(normal(3, 6, 5), false));
    return layers;
  }

  private static Adapters on(Map<String, ? extends Adaptable> layers) {
    Tree tree = Tree.empty();
    layers.forEach(tree::with);
    return Adapters.of(tree, ModelFacts.of("llama"));
  }

  /** Small enough that no entry is multiplied by nearly nothing. */
  private static void shrink(Adapters adapters, String name) {
    try (var _ = new NoGradGuard()) {
      adapters
          .on(name)
          .values()
          .forEach(a -> a.parameters().values().forEach(p -> p.mul_(new Scalar(0.2))));
    }
  }

  @Test
  void merging_and_unmerging_by_division_gives_every_kind_of_layer_its_weight_back() {
    Map<String, Adaptable> layers = layers();
    var before = new LinkedHashMap<String, Tensor>();
    layers.forEach((path, layer) -> before.put(path, layer.weight().clone()));
    Adapters adapters = on(layers);
    HiraConfig config =
        UNSET.withTargets(
            Targets.named("linear", "conv1d", "embed", "conv")
                .withParameters(List.of("m.experts")));
    adapters.attach("one", config, 1);
    adapters.add("two", config, AttachOptions.seeded(2));
    shrink(adapters, "one");
    shrink(adapters, "two");

    adapters.merge(List.of("one"), LIGHT);
    adapters.merge(List.of("two"), LIGHT);

    layers.forEach(
        (path, layer) -> {
          Tensor w = there(before.get(path));
          Tensor sum =
              w.add(there(adapters.on("one").get(path)).deltaWeight())
                  .add(there(adapters.on("two").get(path)).deltaWeight());
          assertThat(gap(layer.weight(), sum)).as(path).isLessThan(1e-10);
          assertThat(gap(layer.weight(), w)).as(path).isGreaterThan(1e-3);
          assertThat(gap(layer.originalWeight(), w)).as(path).isLessThan(1e-12);
        });
    adapters.unmerge();
    layers.forEach(
        (path, layer) ->
            assertThat(gap(layer.weight(), there(before.get(path)))).as(path).isLessThan(1e-12));
  }

  @Test
  void what_is_divided_out_is_what_was_merged_whatever_became_of_the_adapter() {
    var layer = new Linear(normal(6, 8), null);
    Tensor before = layer.weight().clone();
    Adapters adapters = on(Map.of("layer", layer));
    adapters.attach("one", UNSET.withTargets(Targets.named("layer")), 1);
    shrink(adapters, "one");

    adapters.merge(List.of("one"), LIGHT);
    adapters.setScale("one", 0.3);
    shrink(adapters, "one");
    adapters.unmerge();

    assertThat(gap(layer.weight(), before)).isLessThan(1e-12);
  }

  @Test
  void an_adapter_of_another_method_may_come_on_top_and_all_of_it_goes_again() {
    var layer = new Linear(normal(6, 8), null);
    Tensor before = layer.weight().clone();
    Adapters adapters = on(Map.of("layer", layer)).allowMixedMethods();
    Targets targets = Targets.named("layer");
    adapters.attach("one", UNSET.withTargets(targets), 1);
    shrink(adapters, "one");
    adapters.add(
        "few",
        ShiraConfig.defaults().withR(1).withZeroStart(false).withTargets(targets),
        AttachOptions.seeded(2));
    Tensor few = there(adapters.on("few").get("layer")).deltaWeight();

    adapters.merge(List.of("one"), LIGHT);
    Tensor merged = layer.weight().clone();
    adapters.merge(List.of("few"), MergeOptions.defaults());

    assertThat(gap(layer.weight(), merged.add(few))).isLessThan(1e-12);
    assertThat(gap(layer.originalWeight(), before)).isLessThan(1e-12);
    adapters.unmerge();
    assertThat(gap(layer.weight(), before)).isLessThan(1e-12);
  }

  @Test
  void an_entry_near_zero_and_half_precision_and_codes_are_refused_and_nothing_is_merged() {
    var near = new Linear(draw.normal(6, 8), null);
    var half = new Linear(draw.normal(6, 8).to(ScalarType.BFloat16), null);
    var codes =
        new Linear(FourBitWeight.quantise(draw.normal(6, 64), FourBit.NF4, ScalarType.Float), null);
    for (Linear layer : List.of(near, half, codes)) {
      Adapters adapters = on(Map.of("layer", layer));
      adapters.attach("one", UNSET.withTargets(Targets.named("layer")), 1);
      try (var _ = new NoGradGuard()) {
        var parameters = there(adapters.on("one").get("layer")).parameters();
        there(parameters.get("hira_A")).zero_();
        if (layer == near) { // M is -0.9995 in one entry
          there(parameters.get("hira_A")).select(0, 0).select(0, 0).fill_(new Scalar(-0.9995));
          there(parameters.get("hira_B")).zero_().select(0, 3).select(0, 0).fill_(new Scalar(1));
        }
      }
      Tensor before = layer.weight().clone();

      assertThatThrownBy(() -> adapters.merge(List.of("one"), LIGHT))
          .isInstanceOf(NotFiniteException.class)
          .hasMessageContaining("merging [one] without a copy of the weight could not be undone");
      assertThat(layer.weight().equal(before)).isTrue();
      assertThat(adapters.merged()).isEmpty();
    }
  }

  @Test
  void a_method_that_adds_is_refused_with_its_path() {
    var layer = new Linear(draw.normal(6, 8), null);
    Adapters adapters = on(Map.of("layer", layer));
    adapters.attach("one", LoraConfig.builder().targets(Targets.named("layer")).build(), 1);

    assertThatThrownBy(() -> adapters.merge(List.of("one"), LIGHT))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageStartingWith("[one] at layer is a ")
        .hasMessageEndingWith(
            "can not be divided out of the weight again; merge it with keepBackup");
  }
}
