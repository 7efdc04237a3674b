package espalier.training;

import static espalier.training.Named.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.randn;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

class LoraPlusTest {

  private static final LoraPlus PLUS = new LoraPlus(1e-3, 16, 1e-5, 0.1);

  private static Map<String, Tensor> parameters() {
    var all = new LinkedHashMap<String, Tensor>();
    all.put("layers.0.q_proj.lora_A.weight", randn(2, 4));
    all.put("layers.0.q_proj.lora_B.weight", randn(4, 2));
    all.put("layers.0.q_proj.lora_B.bias", randn(4));
    all.put("layers.0.q_proj.lora_magnitude_vector", randn(4));
    all.put("layers.0.q_proj.base_layer.bias", randn(4));
    all.put("embed_tokens.lora_embedding_A", randn(2, 9));
    all.put("embed_tokens.lora_embedding_B", randn(4, 2));
    all.put("embed_tokens.lora_magnitude_vector", randn(4));
    all.put("lm_head.weight", randn(9, 4)); // of modules_to_save
    all.put("layers.0.input_layernorm.weight", randn(4));
    all.put("score.scale", randn(4));
    all.put("h.0.ln_1.weight", randn(4));
    return all;
  }

  @Test
  void each_parameter_is_in_the_group_of_the_method() {
    var table = new LinkedHashMap<String, List<String>>();
    PLUS.groups(parameters())
        .forEach(g -> table.put(g.name(), List.copyOf(g.parameters().keySet())));

    assertThat(table)
        .containsExactly(
            Map.entry("A", List.of("layers.0.q_proj.lora_A.weight", "lm_head.weight")),
            Map.entry(
                "embedding",
                List.of(
                    "embed_tokens.lora_embedding_A",
                    "embed_tokens.lora_embedding_B",
                    "embed_tokens.lora_magnitude_vector")),
            Map.entry(
                "B",
                List.of(
                    "layers.0.q_proj.lora_B.weight",
                    "layers.0.q_proj.lora_magnitude_vector",
                    "score.scale")),
            Map.entry(
                "B without decay",
                List.of(
                    "layers.0.q_proj.lora_B.bias",
                    "layers.0.q_proj.base_layer.bias",
                    "layers.0.input_layernorm.weight",
                    "h.0.ln_1.weight")));
  }

  @Test
  void each_group_has_its_rate_and_decay() {
    var rates = new ArrayList<List<Double>>();
    PLUS.groups(parameters()).forEach(g -> rates.add(List.of(g.learningRate(), g.weightDecay())));

    assertThat(rates)
        .containsExactly(
            List.of(1e-3, 0.1), List.of(1e-5, 0.1), List.of(16e-3, 0.1), List.of(16e-3, 0.0));
  }

  @Test
  void groups_without_a_member_are_left_out() {
    var groups = PLUS.groups(Map.of("q.lora_B.weight", randn(4, 2)));

    assertThat(groups).extracting(ParameterGroup::name).containsExactly("B");
  }

  @Test
  void a_schedule_multiplies_all_groups() {
    var all = new LinkedHashMap<String, Tensor>();
    all.put("q.lora_A.weight", randn(2, 4).set_requires_grad(true));
    all.put("q.lora_B.weight", randn(4, 2).set_requires_grad(true));
    var before = new LinkedHashMap<String, Tensor>();
    all.forEach(
        (key, p) -> {
          before.put(key, p.detach().clone());
          p.mutable_grad().put(randn(p.sizes()));
        });

    try (var optimizer = new AdamW(new LoraPlus(0.01, 16, 0, 0).groups(all))) {
      optimizer.step(0.5);
    }

    // the first step of Adam is the rate, whatever the gradient
    assertThat(moved(all, before, "q.lora_A.weight")).isBetween(0.0049, 0.0051);
    assertThat(moved(all, before, "q.lora_B.weight")).isBetween(0.0799, 0.0801);
  }

  private static double moved(Map<String, Tensor> now, Map<String, Tensor> before, String key) {
    return at(now, key).detach().sub(at(before, key)).abs().max().item_double();
  }

  @Test
  void a_ratio_below_one_is_warned_of_and_a_negative_one_refused() {
    assertThat(new LoraPlus(1e-3, 0.5, 1e-6, 0).warnings()).hasSize(1);
    assertThat(PLUS.warnings()).isEmpty();
    assertThatThrownBy(() -> new LoraPlus(1e-3, -1, 1e-6, 0))
        .hasMessageContaining("the ratio of learning rates is -1.0");
  }
}
