package espalier.training;

import static espalier.training.Named.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.manual_seed;
import static org.bytedeco.pytorch.global.torch.randn;
import static org.bytedeco.pytorch.global.torch.zeros;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class OptimizerStateTest {

  private static final String A = "q.lora_A.weight";
  private static final String B = "q.lora_B.weight";

  private static Map<String, Tensor> parameters() {
    manual_seed(2);
    var all = new LinkedHashMap<String, Tensor>();
    all.put(A, randn(16, 300).set_requires_grad(true));
    all.put(B, randn(300, 16).set_requires_grad(true));
    all.put("q.lora_magnitude_vector", randn(300).set_requires_grad(true));
    return all;
  }

  private static ParameterGroup group(Map<String, Tensor> all) {
    return new ParameterGroup("all", all, 0.01, 0.1);
  }

  private static Map<String, LoraPair> pairs(Map<String, Tensor> all) {
    return Map.of(B, LoraPair.of(at(all, A), at(all, B), 2));
  }

  private static Adam8bit inBytes(List<ParameterGroup> groups) {
    return new Adam8bit(groups, AdamRates.USUAL, Decay.DECOUPLED, _ -> false, false);
  }

  private static Arguments kind(String name, Function<Map<String, Tensor>, Optimizer> make) {
    return Arguments.argumentSet(name, make);
  }

  static List<Arguments> optimizers() {
    return List.of(
        kind("adamw", all -> new AdamW(List.of(group(all)))),
        kind("sgd", all -> new Sgd(List.of(group(all)), 0.9)),
        kind("adamw8bit", all -> inBytes(List.of(group(all)))),
        kind("lora-plus", all -> new AdamW(new LoraPlus(0.01, 4, 0.01, 0.1).groups(all))),
        kind("lora-plus in bytes", all -> inBytes(new LoraPlus(0.01, 4, 0.01, 0.1).groups(all))),
        kind("lora-fa", all -> new LoraFa(group(all), pairs(all), LoraFa.RATES, true)),
        kind(
            "riemannian",
            all -> new Riemannian(new AdamW(List.of(group(all))), pairs(all).values(), 0.01)));
  }

  private static void step(Optimizer optimizer, Map<String, Tensor> all, int step) {
    manual_seed(100 + step);
    try (var _ = new PointerScope()) {
      all.values().forEach(p -> p.mutable_grad().put(randn(p.sizes())));
    }
    optimizer.step(1 - 0.1 * step);
  }

  @ParameterizedTest
  @MethodSource("optimizers")
  void a_saved_and_restored_optimizer_goes_on_bit_for_bit(
      Function<Map<String, Tensor>, Optimizer> make) {
    var straight = parameters();
    var resumed = parameters();
    try (Optimizer first = make.apply(straight);
        Optimizer second = make.apply(resumed)) {
      for (int i = 0; i < 3; i++) {
        step(first, straight, i);
      }
      try (var _ = new NoGradGuard()) {
        resumed.forEach((name, p) -> p.copy_(at(straight, name)));
      }
      second.restore(first.state());

      for (int i = 3; i < 6; i++) {
        step(first, straight, i);
        step(second, resumed, i);
      }

      straight.forEach((name, p) -> assertThat(at(resumed, name).equal(p)).as(name).isTrue());
      assertThat(second.state().keySet()).isEqualTo(first.state().keySet());
      first
          .state()
          .forEach((key, t) -> assertThat(at(second.state(), key).equal(t)).as(key).isTrue());
    }
  }

  @ParameterizedTest
  @MethodSource("optimizers")
  void a_foreign_state_is_refused_and_changes_nothing(
      Function<Map<String, Tensor>, Optimizer> make) {
    var all = parameters();
    try (Optimizer optimizer = make.apply(all)) {
      step(optimizer, all, 0);
      var before = optimizer.state();

      assertThatThrownBy(() -> optimizer.restore(Map.of("k.lora_B.weight/exp_avg", zeros(3))))
          .hasMessageContaining("no parameter of that name is trained");
      assertThatThrownBy(() -> optimizer.restore(Map.of(B + "/sum", zeros(4800))))
          .hasMessageContaining("which this optimizer does not keep");
      assertThatThrownBy(() -> optimizer.restore(Map.of(B + "/exp_avg", zeros(3))))
          .hasMessageContaining("of shape [3]");
      assertThat(optimizer.state().keySet()).isEqualTo(before.keySet());
    }
  }

  @Test
  void a_state_of_the_same_size_but_another_shape_is_refused() {
    try (var optimizer = new AdamW(List.of(group(parameters())))) {
      var turned = Map.of(B + "/exp_avg", zeros(16, 300), B + "/exp_avg_sq", zeros(16, 300));

      assertThatThrownBy(() -> optimizer.restore(turned))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("of shape [16, 300]")
          .hasMessageContaining("a parameter of shape [300, 16]");
    }
  }

  @Test
  void a_state_without_one_of_the_moments_is_refused_and_changes_nothing() {
    var all = parameters();
    try (var optimizer = new AdamW(List.of(group(all)))) {
      step(optimizer, all, 0);
      var state = new LinkedHashMap<>(optimizer.state());
      state.remove(B + "/exp_avg_sq");

      assertThatThrownBy(() -> optimizer.restore(state))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(
              "the optimizer state of q.lora_B.weight holds [exp_avg], but [exp_avg, exp_avg_sq]"
                  + " belong together and would begin anew in part; resume from another"
                  + " checkpoint");
      assertThat(optimizer.state()).containsKey(B + "/exp_avg_sq");
    }
  }

  @Test
  void the_reported_rate_is_that_of_the_first_group() {
    try (var plus = new AdamW(new LoraPlus(0.01, 4, 0.01, 0.1).groups(parameters()))) {
      assertThat(plus.learningRate()).isEqualTo(0.01);
    }
  }
}
