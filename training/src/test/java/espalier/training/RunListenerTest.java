package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

final class RunListenerTest {

  @Test
  void several_listeners_hear_everything_in_their_order() {
    var heard = new ArrayList<String>();
    RunListener all = RunListener.all(List.of(named("a", heard), named("b", heard)));

    all.step(RunLogTest.step(1));
    all.eval(RunLogTest.eval(2));
    all.saved(Path.of("x"));
    all.message("hi");

    assertThat(heard)
        .containsExactly(
            "a step 1",
            "b step 1",
            "a eval 2",
            "b eval 2",
            "a saved x",
            "b saved x",
            "a hi",
            "b hi");
  }

  private static RunListener named(String name, List<String> heard) {
    return new RunListener() {
      @Override
      public void step(StepMetrics metrics) {
        heard.add(name + " step " + metrics.step());
      }

      @Override
      public void eval(EvalMetrics metrics) {
        heard.add(name + " eval " + metrics.step());
      }

      @Override
      public void saved(Path folder) {
        heard.add(name + " saved " + folder);
      }

      @Override
      public void message(String text) {
        heard.add(name + " " + text);
      }
    };
  }
}
