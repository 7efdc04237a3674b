package espalier.adapters.lora;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Adapters;
import espalier.adapters.TargetException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.Svd;
import espalier.nn.Adaptable;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.FourBit;
import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class LoftqTest {

  private static final String Q0 = "model.layers.0.self_attn.q_proj";
  private static final String Q1 = "model.layers.1.self_attn.q_proj";

  private Scope scope = Scope.graph();
  private Tree model = Tree.decoder(2);
  private Adapters adapters = Adapters.of(model, Tree.facts());
  private final Map<String, Tensor> originals = new LinkedHashMap<>();

  @BeforeEach
  void open() {
    scope.close();
    scope = Scope.graph();
    model = Tree.decoder(2);
    adapters = Adapters.of(model, Tree.facts());
    var config =
        LoraConfig.builder().r(2).alpha(2).targets(Targets.named("q_proj", "k_proj")).build();
    adapters.attach("one", config, 1);
    originals.clear();
    adapters.on("one").forEach((path, a) -> originals.put(path, a.layer().weight().clone()));
  }

  @AfterEach
  void close() {
    model.close();
    scope.close();
  }

  private void quantise(String path) {
    Adaptable layer = model.at(path);
    layer.rebase(FourBit.NF4.quantise(layer.weight()).dequantise());
  }

  private LoraLinear lora(String path) {
    return (LoraLinear) there(adapters.on("one").get(path));
  }

  private Tensor original(String path) {
    return there(originals.get(path));
  }

  @Test
  void the_factors_are_the_best_fit_of_what_was_lost_and_other_layers_are_left_alone() {
    quantise(Q0);
    quantise(Q1);
    Tensor other = lora("model.layers.0.self_attn.k_proj").a().clone();

    var replaced = Loftq.replaceWeights(adapters, "one", this::original, _ -> true);

    assertThat(replaced.accepted()).containsExactly(Q0, Q1);
    assertThat(replaced.rejected()).isEmpty();
    assertThat(replaced.warnings()).isEmpty();
    Svd best = Svd.of(original(Q0).sub(model.at(Q0).weight())).first(2);
    Tensor fit = best.leftHalf().matmul(best.rightHalf());
    assertThat(lora(Q0).deltaWeight().sub(fit).abs().max().item_double()).isLessThan(1e-6);
    assertThat(lora("model.layers.0.self_attn.k_proj").a().equal(other)).isTrue();
  }

  @Test
  void a_layer_that_is_rejected_has_its_former_factors_bit_for_bit() {
    quantise(Q0);
    quantise(Q1);
    Tensor a = lora(Q1).a().clone();
    Tensor b = lora(Q1).b().clone();

    var replaced = Loftq.replaceWeights(adapters, "one", this::original, Q0::equals);

    assertThat(replaced.accepted()).containsExactly(Q0);
    assertThat(replaced.rejected()).containsExactly(Q1);
    assertThat(lora(Q1).a().equal(a) && lora(Q1).b().equal(b)).isTrue();
  }

  @Test
  void a_failure_leaves_all_factors_as_they_were() {
    quantise(Q0);
    quantise(Q1);
    Tensor a = lora(Q0).a().clone();

    assertThatThrownBy(
            () ->
                Loftq.replaceWeights(
                    adapters,
                    "one",
                    this::original,
                    path -> {
                      if (path.equals(Q1)) {
                        throw new IllegalStateException("the check failed");
                      }
                      return true;
                    }))
        .hasMessage("the check failed");
    assertThat(lora(Q0).a().equal(a)).isTrue();
    assertThat(lora(Q0).b().abs().max().item_double()).isZero();
  }

  @Test
  void a_base_that_is_not_quantised_is_refused() {
    assertThatThrownBy(() -> Loftq.replaceWeights(adapters, "one", this::original, _ -> true))
        .isInstanceOf(TargetException.class)
        .hasMessageStartingWith("no linear layer of one differs from the original weights");
  }

  @ParameterizedTest
  @ValueSource(strings = {"embedding", "convolution"})
  void the_start_of_that_name_exists_for_linear_layers_only(String kind) {
    Adaptable layer =
        kind.equals("embedding")
            ? new Embedding(torch.ones(5, 4))
            : new Convolution(torch.ones(4, 3, 3), null, Convolution.Geometry.plain(1));
    try (var other = Tree.empty().with("layer", layer)) {
      var on = Adapters.of(other, Tree.facts());
      var config =
          LoraConfig.builder()
              .init(new LoraInit.Loftq(4, 1))
              .targets(Targets.named("layer"))
              .build();

      assertThatThrownBy(() -> on.attach("one", config, 1))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessageContaining("for which init_lora_weights loftq does not exist");
      assertThat(on.names()).isEmpty();
    }
  }
}
