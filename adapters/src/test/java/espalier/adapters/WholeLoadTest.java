package espalier.adapters;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.hira.HiraConfig;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

/** Tensors that are put into an adapter that is there: all of them or none. */
class WholeLoadTest {

  private static final String FIRST = "base_model.model.first.";
  private static final String SECOND = "base_model.model.second.";

  private static Tree model() {
    var draw = new Tree.Draw(9);
    return Tree.empty()
        .with("first", new Linear(draw.normal(5, 4), null))
        .with("second", new Linear(draw.normal(6, 4), null));
  }

  @Test
  void factors_of_two_ranks_in_one_layer_leave_the_other_layers_as_they_were() {
    try (var _ = Scope.open();
        Tree model = model()) {
      var draw = new Tree.Draw(3);
      Adapters adapters = Adapters.of(model, ModelFacts.of("llama"));
      adapters.attach(
          "one", HiraConfig.defaults().withR(2).withTargets(Targets.named("first", "second")), 1);
      Tensor before = there(adapters.state("one").get(FIRST + "hira_A")).clone();
      var saved = new LinkedHashMap<String, Tensor>();
      saved.put(FIRST + "hira_A", draw.normal(2, 4));
      saved.put(FIRST + "hira_B", draw.normal(5, 2));
      saved.put(SECOND + "hira_A", draw.normal(3, 4));
      saved.put(SECOND + "hira_B", draw.normal(6, 2));

      assertThatThrownBy(() -> adapters.setState("one", saved, LoadOptions.defaults()))
          .isInstanceOf(StateMismatchException.class)
          .hasMessageContainingAll("second", "rank 3", "rank 2");

      assertThat(there(adapters.state("one").get(FIRST + "hira_A")).equal(before)).isTrue();
    }
  }

  @Test
  void rows_of_a_batch_that_a_layer_does_not_see_are_refused_by_name() {
    try (var _ = Scope.open();
        Tree model = model()) {
      Adapters adapters = Adapters.of(model, ModelFacts.of("llama"));
      adapters.attach("one", HiraConfig.defaults().withTargets(Targets.named("first")), 1);
      model.train(false);
      Tensor positions = new Tree.Draw(3).normal(1, 3, 4);

      assertThatThrownBy(
              () ->
                  adapters.mixed(
                      List.of("one", "__base__"), 2, () -> model.at("first").forward(positions)))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContainingAll("1 rows", "2 names");
      assertThat(Map.copyOf(adapters.on("one"))).containsOnlyKeys("first");
    }
  }
}
