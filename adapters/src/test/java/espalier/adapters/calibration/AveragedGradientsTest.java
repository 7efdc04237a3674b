package espalier.adapters.calibration;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Tree;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

/** When the gradients of a calibration are in memory. */
class AveragedGradientsTest {

  private final Tree tree = Tree.empty();
  private final Map<String, Linear> layers = new LinkedHashMap<>();
  private final List<Tensor> seen = new ArrayList<>();

  private AveragedGradients gradients(long memory) {
    for (String name : List.of("a", "b", "c")) {
      var layer = new Linear(new Tree.Draw(layers.size()).normal(6, 6), null);
      layers.put(name, layer);
      tree.with(name, layer);
    }
    return new AveragedGradients("Method", tree, CalibrationOptions.defaults().withMemory(memory));
  }

  private long backward() {
    try (var _ = Scope.graph()) {
      Tensor y = new Tree.Draw(9).normal(4, 6);
      for (Linear layer : layers.values()) {
        y = layer.forward(y);
      }
      y.square().sum().backward();
    }
    return 4;
  }

  @Test
  void a_gradient_is_freed_before_the_next_layer_is_looked_at() {
    try (var _ = Scope.open()) {
      AveragedGradients gradients = gradients(Long.MAX_VALUE);

      gradients.look(
          layers,
          this::backward,
          (_, _, gradient) -> {
            assertThat(seen).allMatch(tensor -> tensor.isNull());
            assertThat(gradient.abs().max().item_double()).isGreaterThan(0);
            seen.add(gradient);
          });

      assertThat(seen).hasSize(3).allMatch(tensor -> tensor.isNull());
    }
  }

  @Test
  void the_gradients_of_no_more_layers_than_the_memory_holds_are_summed_at_once() {
    try (var _ = Scope.open()) {
      AveragedGradients gradients = gradients(2 * 6 * 6 * Float.BYTES);
      var observed = new ArrayList<String>();

      gradients.look(
          layers,
          this::backward,
          (path, _, _) ->
              observed.add(
                  path
                      + " of "
                      + layers.entrySet().stream()
                          .filter(e -> e.getValue().observed())
                          .map(Map.Entry::getKey)
                          .toList()));

      assertThat(observed).containsExactly("a of [a, b]", "b of [a, b]", "c of [c]");
    }
  }

  @Test
  void a_look_that_fails_leaves_the_model_as_it_was() {
    try (var _ = Scope.open()) {
      AveragedGradients gradients = gradients(1);
      tree.train(true);

      assertThatThrownBy(
              () ->
                  gradients.look(
                      layers,
                      this::backward,
                      (_, _, gradient) -> {
                        seen.add(gradient);
                        throw new IllegalStateException("no");
                      }))
          .hasMessage("no");

      assertThat(seen).hasSize(1).allMatch(tensor -> tensor.isNull());
      assertThat(layers.values()).noneMatch(Linear::observed);
      assertThat(layers.values()).noneMatch(layer -> layer.adapters().disabled());
      assertThat(tree.training()).isTrue();
    }
  }
}
