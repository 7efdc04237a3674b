package espalier.adapters.combine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.LayerKind;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraConfigBuilder;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Scope;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Combinations on every kind of layer, and of adapters that can not be combined. */
final class CombiningLayersTest {

  private final Scope scope = Scope.open();
  private final NoGradGuard noGradients = new NoGradGuard();

  @AfterEach
  void close() {
    noGradients.close();
    scope.close();
  }

  private static LoraConfigBuilder lora() {
    return LoraConfig.builder()
        .r(2)
        .alpha(6)
        .init(new LoraInit.Unset())
        .targets(Targets.named("layer"));
  }

  private static Adapters two(Adaptable layer, LoraConfigBuilder config) {
    Adapters adapters = Tree.adapters(layer);
    adapters.add("one", config.build(), AttachOptions.seeded(1));
    adapters.add("two", config.build(), AttachOptions.seeded(2));
    return adapters;
  }

  private static Adapter on(Adapters adapters, String name) {
    return Tree.there(adapters.on(name).get("layer"));
  }

  private static CombinationReport combine(Adapters adapters, Combination how) {
    return Combining.add(adapters, List.of("one", "two"), List.of(0.7, -1.5), "c", how);
  }

  private static Tensor sum(Adapters adapters) {
    return on(adapters, "one")
        .deltaWeight()
        .mul(new Scalar(0.7))
        .add(on(adapters, "two").deltaWeight(), new Scalar(-1.5));
  }

  @ParameterizedTest
  @EnumSource
  void the_sum_of_the_updates_is_decomposed_on_every_kind_of_layer(LayerKind kind) {
    Adapters adapters = two(kind.layer(ScalarType.Float), lora());

    CombinationReport report =
        combine(adapters, Combination.of(CombinationType.SVD).withSvdRank(4));

    Tensor combined = on(adapters, "c").deltaWeight();
    assertThat(combined.allclose(sum(adapters), 1e-5, 1e-5, false)).isTrue();
    assertThat(report.largestError()).isLessThan(1e-5);
  }

  @ParameterizedTest
  @EnumSource
  void a_rank_beyond_the_layer_is_filled_up_with_zeros(LayerKind kind) {
    Adapters adapters = two(kind.layer(ScalarType.Float), lora());

    combine(adapters, Combination.of(CombinationType.SVD).withSvdRank(40));

    for (Tensor factor : on(adapters, "c").state().values()) {
      assertThat(factor.shape()).contains(40);
    }
    Tensor combined = on(adapters, "c").deltaWeight();
    assertThat(combined.allclose(sum(adapters), 1e-5, 1e-5, false)).isTrue();
  }

  @Test
  void adapters_in_bfloat16_give_one_in_bfloat16_that_was_rounded_once() {
    Adapters adapters = two(LayerKind.LINEAR.layer(ScalarType.BFloat16), lora());
    for (String name : List.of("one", "two")) {
      on(adapters, name).to(ScalarType.BFloat16);
    }

    combine(adapters, Combination.of(CombinationType.SVD).withSvdRank(4));

    Tensor sum = sum(adapters);
    double gap = on(adapters, "c").deltaWeight().sub(sum).norm().item_double();
    assertThat(on(adapters, "c").dtype()).isEqualTo(ScalarType.BFloat16);
    assertThat(gap / sum.norm().item_double()).isBetween(1e-6, 1e-2);
  }

  static List<LoraVariant> special() {
    return List.of(
        new LoraVariant.Dora(),
        new LoraVariant.Kasa(1e-4, 1e-3),
        new LoraVariant.Alora(List.of(1, 2)),
        new LoraVariant.Bdlora(List.of("layer"), null, 2, true),
        new LoraVariant.Velora(2, 1, "random"),
        new LoraVariant.Monteclora(2, false, 1, 1e-2, 1e-5, 4));
  }

  @ParameterizedTest
  @MethodSource("special")
  void more_than_plain_lora_is_refused_by_its_setting_and_leaves_nothing(LoraVariant variant) {
    Adapters adapters = two(LayerKind.LINEAR.layer(ScalarType.Float), lora().variant(variant));

    assertThatThrownBy(() -> combine(adapters, Combination.of(CombinationType.CAT)))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageStartingWith("one has " + variant.field() + ", which can not be combined");
    assertThat(adapters.names()).containsExactly("one", "two");
    assertThat(adapters.model().layers()).hasSize(1);
  }

  @ParameterizedTest
  @MethodSource("special")
  void those_whose_update_is_the_plain_one_can_be_taken_as_lora(LoraVariant variant) {
    boolean plain =
        variant instanceof LoraVariant.Velora || variant instanceof LoraVariant.Monteclora;
    Adapters adapters = two(LayerKind.LINEAR.layer(ScalarType.Float), lora().variant(variant));
    Combination how = Combination.of(CombinationType.CAT).withAsPlainLora(true);

    if (plain) {
      combine(adapters, how);
      assertThat(on(adapters, "c").deltaWeight().allclose(sum(adapters), 1e-5, 1e-5, false))
          .isTrue();
    } else {
      assertThatThrownBy(() -> combine(adapters, how))
          .isInstanceOf(UnsupportedAdapterException.class);
    }
  }

  @Test
  void the_start_of_the_sources_does_not_change_the_base_once_more() {
    Adaptable layer = LayerKind.LINEAR.layer(ScalarType.Float);
    Adapters adapters = two(layer, lora().init(new LoraInit.Pissa()));
    Tensor before = layer.weight().clone();

    combine(adapters, Combination.of(CombinationType.CAT));

    assertThat(layer.weight().equal(before)).isTrue();
    assertThat(((LoraConfig) adapters.config("c")).init()).isEqualTo(new LoraInit.Uniform());
    assertThat(((LoraConfig) adapters.config("one")).init()).isEqualTo(new LoraInit.Pissa());
  }
}
