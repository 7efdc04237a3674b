package espalier.adapters.lora;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.Attached;
import espalier.adapters.ConfigException;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Int4Weight;
import espalier.nn.Linear;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

class QaloraTest {

  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static LoraConfigBuilder config(int group) {
    return LoraConfig.builder()
        .r(3)
        .alpha(6)
        .targets(Targets.named("layer"))
        .qaloraGroupSize(group)
        .variant(new LoraVariant.Qalora());
  }

  private static Linear layer(long group) {
    var draw = new Tree.Draw(1);
    return new Linear(
        Int4Weight.quantise(draw.normal(10, 32), ScalarType.Float, group), draw.normal(10));
  }

  private static Adapters on(Linear layer) {
    return Tree.adapters(layer);
  }

  private static QaloraLinear trained(Adapters adapters, LoraConfigBuilder config) {
    adapters.attach("default", config.build(), AttachOptions.seeded(2));
    var lora = (QaloraLinear) there(adapters.on("default").get("layer"));
    try (var _ = new NoGradGuard()) {
      lora.b().copy_(new Tree.Draw(3).normal(10, 3));
    }
    return lora;
  }

  private static Tensor input() {
    return new Tree.Draw(4).normal(2, 5, 32).set_requires_grad(true);
  }

  @Test
  void the_branch_sees_the_mean_of_each_group_times_their_number() {
    try (Linear layer = layer(8)) {
      QaloraLinear lora = trained(on(layer), config(8));
      Tensor x = input();
      Tensor same = input();

      Tensor y = layer.forward(x);
      y.square().sum().backward();

      Tensor means =
          same.view(2, 5, 4, 8)
              .mean(new long[] {-1}, false, new ScalarTypeOptional())
              .mul(new Scalar(4));
      Tensor wanted =
          layer
              .base(same)
              .add(
                  means
                      .matmul(lora.a().detach().t())
                      .matmul(lora.b().detach().t())
                      .mul(new Scalar(2)));
      wanted.square().sum().backward();
      assertThat(lora.a().shape()).containsExactly(3, 4);
      assertThat(gap(y, wanted)).isLessThan(1e-4);
      assertThat(gap(x.grad(), same.grad())).isLessThan(1e-2);
    }
  }

  @Test
  void a_new_adapter_changes_nothing() {
    try (Linear layer = layer(8);
        var _ = new NoGradGuard()) {
      Tensor before = layer.forward(input());

      on(layer).attach("default", config(8).build(), AttachOptions.seeded(1));

      assertThat(layer.forward(input()).equal(before)).isTrue();
    }
  }

  @Test
  void merging_moves_the_zero_points_and_rounds_nothing() {
    // a group of the adapter may span several of the base
    for (long group : new long[] {4, 8}) {
      try (Linear layer = layer(group);
          var _ = new NoGradGuard()) {
        Adapters adapters = on(layer);
        QaloraLinear lora = trained(adapters, config(8));
        Tensor before = layer.weight();
        Tensor unmerged = layer.forward(input());
        Tensor sum = before.add(lora.deltaWeight());

        var result = adapters.merge(true);

        assertThat(result.warnings()).isEmpty();
        assertThat(gap(layer.weight(), sum)).isLessThan(1e-5);
        assertThat(gap(layer.forward(input()), unmerged)).isLessThan(1e-4);
        assertThat(layer.quantised()).isInstanceOf(Int4Weight.class);

        adapters.unmerge();

        assertThat(layer.weight().equal(before)).isTrue();
      }
    }
  }

  @Test
  void groups_finer_than_those_of_the_base_can_be_trained_but_not_merged() {
    try (Linear layer = layer(16);
        var _ = new NoGradGuard()) {
      Adapters adapters = on(layer);
      trained(adapters, config(8));

      assertThatThrownBy(() -> adapters.merge(false))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessage(
              "default at layer: qalora_group_size is 8, which the groups of 16 of the quantised"
                  + " base do not divide, so its zero points can not take the update");
    }
  }

  @Test
  void a_group_that_does_not_divide_the_inputs_is_refused_with_one_that_does() {
    try (Linear layer = layer(8)) {
      assertThatThrownBy(
              () -> on(layer).attach("default", config(12).build(), AttachOptions.seeded(1)))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "qalora_group_size is 12 but must divide the 32 inputs of layer; choose a divisor,"
                  + " such as 8");
    }
  }

  @Test
  void a_layer_that_is_not_quantised_in_groups_is_refused() {
    try (Linear layer = new Linear(new Tree.Draw(1).normal(10, 32), null)) {
      assertThatThrownBy(
              () -> on(layer).attach("default", config(8).build(), AttachOptions.seeded(1)))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessageStartingWith("layer is not quantised but use_qalora is for weights");
    }
  }

  @Test
  void asked_for_all_the_same_it_is_there_with_a_warning_and_merges() {
    try (Linear layer = new Linear(new Tree.Draw(1).normal(10, 32), null);
        var _ = new NoGradGuard()) {
      Adapters adapters = on(layer);
      LoraConfigBuilder config = config(8).variant(new LoraVariant.Qalora(false));
      QaloraLinear lora = trained(adapters, config);
      Attached attached = adapters.attached("default");
      Tensor unmerged = layer.forward(input());

      adapters.merge(true);

      assertThat(attached).isNotNull();
      assertThat(config.build().warnings(layer)).anyMatch(w -> w.startsWith("use_qalora is meant"));
      assertThat(lora.group()).isEqualTo(8);
      assertThat(gap(layer.forward(input()), unmerged)).isLessThan(1e-4);
    }
  }
}
