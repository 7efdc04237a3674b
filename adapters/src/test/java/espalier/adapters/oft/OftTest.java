package espalier.adapters.oft;

import static espalier.adapters.Tree.gap;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.LayerKind;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.node.JsonNodeFactory;

class OftTest {

  private static final OftConfig SMALL =
      OftConfig.defaults().withBlockSize(4).withTargets(Targets.named("layer"));
  private static final Cayley EXACT = new Cayley(false, 5);

  private final Tree.Draw draw = new Tree.Draw(5);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static void fill(Adapter adapter, long seed) {
    var more = new Tree.Draw(seed);
    try (var _ = new NoGradGuard()) {
      adapter
          .parameters()
          .values()
          .forEach(p -> p.copy_(more.normal(p.shape()).mul(new Scalar(0.3))));
    }
  }

  private static Adapter trained(Adaptable layer, OftConfig config) {
    Adapter oft = config.create(layer, "layer", Init.shared(1));
    fill(oft, 9);
    return oft;
  }

  @Test
  void the_exact_transform_keeps_lengths_and_angles_of_the_neurons() {
    var layer = new Linear(draw.normal(6, 8), null);
    Tensor w = layer.weight();

    Tensor turned = trained(layer, SMALL.withCayley(EXACT)).mergedInto(w);

    assertThat(gap(turned.mm(turned.t()), w.mm(w.t()))).isLessThan(1e-5);
    assertThat(gap(turned, w)).isGreaterThan(0.1);
  }

  @Test
  void more_terms_of_the_series_come_nearer_to_a_rotation() {
    Tensor q = draw.normal(1, 4, 4).mul(new Scalar(0.1));
    Tensor skew = q.sub(q.transpose(1, 2));
    Tensor exact = new Cayley(false, 0).of(skew.neg());

    double five = gap(new Cayley(true, 5).of(skew), exact);
    double nine = gap(new Cayley(true, 9).of(skew), exact);

    assertThat(nine).isLessThan(five / 10);
    assertThat(five).isLessThan(0.05);
  }

  @ParameterizedTest
  @CsvSource({"12, 5, 4", "12, 32, 12", "12, 4, 4", "14, 5, 7", "10, 4, 5"})
  void a_size_that_divides_nothing_becomes_the_nearest_one_that_does(
      long width, long wish, long expected) {
    assertThat(Blocks.nearestDivisor(width, wish)).isEqualTo(expected);
  }

  @Test
  void a_constraint_holds_the_angles_back_and_leaves_smaller_ones_alone() {
    var rotation = new Rotation(SMALL.constrained(0.6), 8);
    Tensor angles =
        torch.cat(
            new org.bytedeco.pytorch.TensorVector(
                draw.normal(1, 6), draw.normal(1, 6).mul(new Scalar(1e-3))),
            0);

    Tensor held = rotation.heldBack(angles);

    double length = held.select(0, 0).norm().item_double() * Math.sqrt(2);
    assertThat(length).isCloseTo(0.6 / Math.sqrt(2), org.assertj.core.data.Offset.offset(1e-6));
    assertThat(held.select(0, 1).equal(angles.select(0, 1))).isTrue();
  }

  @Test
  void in_training_some_blocks_are_left_as_they_are() {
    var rotation = new Rotation(SMALL.withModuleDropout(0.5), 16);
    Tensor angles = draw.normal(4, 6);

    Tensor r = rotation.of(angles, 1, true);

    Tensor one = torch.eye(4).expand_as(r);
    long unturned = 0;
    for (long i = 0; i < 4; i++) {
      unturned += r.select(0, i).equal(one.select(0, i)) ? 1 : 0;
    }
    assertThat(unturned).isEqualTo(2);
  }

  @Test
  void adapters_before_it_see_the_rotated_input_and_those_after_it_do_not() {
    var layer = new Linear(draw.normal(6, 8), draw.normal(6));
    var adapters = Adapters.of(Tree.empty().with("layer", layer), ModelFacts.of("llama"));
    adapters.allowMixedMethods();
    LoraConfig lora = LoraConfig.builder().r(2).targets(Targets.named("layer")).build();
    long seed = 20;
    for (String name : List.of("before", "oft", "after")) {
      adapters.add(name, name.equals("oft") ? SMALL : lora, AttachOptions.seeded(seed));
      fill(Tree.there(adapters.on(name).get("layer")), seed++);
    }
    Adapter before = Tree.there(adapters.on("before").get("layer"));
    Adapter oft = Tree.there(adapters.on("oft").get("layer"));
    Adapter after = Tree.there(adapters.on("after").get("layer"));
    Tensor x = draw.normal(2, 3, 8);

    adapters.setActive(List.of("before", "oft", "after"));
    Tensor y = layer.forward(x);
    Tensor weight = oft.mergedInto(layer.weight().add(before.deltaWeight()));
    Tensor expected = layer.base(x, weight.add(after.deltaWeight()), layer.bias());
    adapters.merge(true);
    Tensor merged = layer.forward(x);
    adapters.unmerge();
    adapters.setActive(List.of("oft", "before"));
    Tensor other = layer.forward(x);

    assertThat(gap(y, expected)).isLessThan(1e-5);
    assertThat(gap(merged, expected)).isLessThan(1e-5);
    assertThat(gap(other.sub(layer.base(x)), y.sub(layer.base(x)))).isGreaterThan(0.01);
  }

  @Test
  void a_kernel_of_several_places_is_rotated_as_merging_rotates_it() {
    Adaptable layer = LayerKind.CONVOLUTION_2D.layer(ScalarType.Float);
    Tensor x = LayerKind.CONVOLUTION_2D.input(ScalarType.Float);
    Adapter oft = trained(layer, SMALL);
    Adapter fresh = SMALL.create(layer, "layer", Init.shared(1));

    Tensor merged = layer.base(x, oft.mergedInto(layer.weight()), layer.bias());

    assertThat(gap(oft.first(x), merged)).isLessThan(1e-4);
    assertThat(fresh.first(x).equal(layer.base(x))).isTrue();
  }

  @Test
  void rows_of_an_embedding_are_rotated_with_what_adapters_before_it_add_and_as_merging_does() {
    var layer = new Embedding(draw.normal(10, 8), 3, 2.5);
    var adapters = Adapters.of(Tree.empty().with("layer", layer), ModelFacts.of("llama"));
    adapters.allowMixedMethods();
    LoraConfig lora = LoraConfig.builder().r(2).targets(Targets.named("layer")).build();
    Tensor ids = Tensor.create(new long[] {3, 0, 9, 3, 7, 1}, 2, 3);
    Tensor alone = layer.forward(ids);
    adapters.add("oft", SMALL.withCayley(EXACT), AttachOptions.seeded(4));
    adapters.setActive(List.of("oft"));

    assertThat(gap(layer.forward(ids), alone)).as("fresh").isLessThan(1e-6);
    fill(Tree.there(adapters.on("oft").get("layer")), 6);
    Tensor turned = layer.forward(ids);
    assertThat(gap(turned, alone)).isGreaterThan(0.1);
    assertThat(gap(turned.square().sum(-1), alone.square().sum(-1))).isLessThan(1e-4);

    adapters.add("before", lora, AttachOptions.seeded(5));
    adapters.add("after", lora, AttachOptions.seeded(6));
    fill(Tree.there(adapters.on("before").get("layer")), 7);
    fill(Tree.there(adapters.on("after").get("layer")), 8);
    adapters.setActive(List.of("before", "oft", "after"));
    Tensor three = layer.forward(ids);
    adapters.merge(true);
    assertThat(gap(layer.forward(ids), three)).isLessThan(1e-4);
    adapters.unmerge();
    assertThat(layer.forward(ids).equal(three)).isTrue();
  }

  @Test
  void every_field_survives_the_way_to_the_file_and_back() {
    OftConfig config =
        SMALL
            .withR(3)
            .withModuleDropout(0.25)
            .constrained(0.01)
            .withBlockShare(true)
            .withCayley(new Cayley(false, 7));
    AdapterCatalog catalog = AdapterCatalog.standard();

    var read = (OftConfig) catalog.read(catalog.write(config)).config();

    assertThat(read).isEqualTo(config.withHead(config.head().withInferenceMode(true)));
  }

  @Test
  void a_file_of_the_method_before_it_changed_is_refused() {
    var fields = JsonNodeFactory.instance.objectNode().put("peft_type", "OFT").put("r", 8);

    assertThatThrownBy(() -> AdapterCatalog.standard().read(fields))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("r is 8 and oft_block_size is missing, as in files of PEFT before");
    assertThatThrownBy(() -> AdapterCatalog.standard().read(fields.put("oft_block_size", 4)))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("r is 8 and oft_block_size is 4 but exactly one of them");
  }
}
