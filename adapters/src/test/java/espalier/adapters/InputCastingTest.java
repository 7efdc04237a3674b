package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.nn.Adaptable;
import espalier.nn.Rows;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** Inputs of one dtype and adapters of another, and a scope in which none is cast. */
class InputCastingTest {

  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static LoraConfig config(LoraVariant variant) {
    return LoraConfig.builder()
        .r(2)
        .init(new LoraInit.Unset())
        .variant(variant)
        .targets(Targets.named("layer"))
        .build();
  }

  private static Adapters on(Adaptable layer) {
    Adapters adapters = Tree.adapters(layer);
    adapters.attach("one", config(new LoraVariant.Plain()), 1);
    return adapters;
  }

  @ParameterizedTest
  @EnumSource(names = {"LINEAR", "CONV1D_OF_GPT2", "CONVOLUTION_2D"})
  void outside_of_the_scope_any_input_will_do_and_inside_only_one_of_the_adapters_dtype(
      LayerKind kind) {
    Adaptable layer = kind.layer(ScalarType.BFloat16);
    Adapters adapters = on(layer);
    Tensor x = kind.input(ScalarType.BFloat16);
    Tensor usual = layer.forward(x);

    try (var _ = adapters.disableInputDtypeCasting(true)) {
      assertThatThrownBy(() -> layer.forward(x))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage(
              "the input of a %s is BFloat16 but its adapter is Float, and nothing is cast between"
                      .formatted(layer.typeName())
                  + " them at present; cast the input, cast the adapter, or allow casting again");
      adapters.cast("one", ScalarType.BFloat16);
      assertThat(layer.forward(x).scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
      adapters.cast("one", ScalarType.Float);
    }

    assertThat(usual.scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
    assertThatCode(() -> layer.forward(x)).doesNotThrowAnyException();
  }

  @Test
  void where_dtypes_agree_it_changes_no_bit() {
    Adaptable layer = LayerKind.LINEAR.layer(ScalarType.Float);
    Adapters adapters = on(layer);
    Tensor x = LayerKind.LINEAR.input(ScalarType.Float);
    Tensor usual = layer.forward(x);

    try (var _ = adapters.disableInputDtypeCasting(true)) {
      assertThat(layer.forward(x).equal(usual)).isTrue();
    }
  }

  @Test
  void rows_of_a_batch_are_held_to_it_too() {
    Adaptable layer = LayerKind.LINEAR.layer(ScalarType.BFloat16);
    Adapters adapters = on(layer);
    Tensor x = LayerKind.LINEAR.input(ScalarType.BFloat16).narrow(0, 0, 2);

    try (var _ = adapters.disableInputDtypeCasting(true)) {
      assertThatThrownBy(() -> adapters.mixed(List.of("one", Rows.BASE), 2, () -> layer.forward(x)))
          .isInstanceOf(IllegalStateException.class);
    }
    assertThatCode(() -> adapters.mixed(List.of("one", Rows.BASE), 2, () -> layer.forward(x)))
        .doesNotThrowAnyException();
  }

  @Test
  void scopes_nest_and_one_that_is_not_active_changes_nothing() {
    Adaptable layer = LayerKind.LINEAR.layer(ScalarType.BFloat16);
    Adapters adapters = on(layer);
    Tensor x = LayerKind.LINEAR.input(ScalarType.BFloat16);

    try (var _ = adapters.disableInputDtypeCasting(false)) {
      assertThatCode(() -> layer.forward(x)).doesNotThrowAnyException();
      try (var _ = adapters.disableInputDtypeCasting(true)) {
        try (var _ = adapters.disableInputDtypeCasting(true)) {
          assertThatThrownBy(() -> layer.forward(x)).isInstanceOf(IllegalStateException.class);
        }
        assertThatThrownBy(() -> layer.forward(x)).isInstanceOf(IllegalStateException.class);
      }
      assertThatCode(() -> layer.forward(x)).doesNotThrowAnyException();
    }
  }

  @Test
  void token_ids_are_no_numbers_that_could_be_cast() {
    Adaptable layer = LayerKind.EMBEDDING.layer(ScalarType.BFloat16);
    Adapters adapters = on(layer);
    Tensor ids = LayerKind.EMBEDDING.input(ScalarType.BFloat16);

    try (var _ = adapters.disableInputDtypeCasting(true)) {
      assertThatCode(() -> layer.forward(ids)).doesNotThrowAnyException();
    }
  }
}
