package espalier.training;

import java.nio.file.Path;
import java.util.List;

/** Several listeners as one. */
record Listeners(List<RunListener> all) implements RunListener {

  @Override
  public void step(StepMetrics metrics) {
    all.forEach(listener -> listener.step(metrics));
  }

  @Override
  public void eval(EvalMetrics metrics) {
    all.forEach(listener -> listener.eval(metrics));
  }

  @Override
  public void saved(Path folder) {
    all.forEach(listener -> listener.saved(folder));
  }

  @Override
  public void message(String text) {
    all.forEach(listener -> listener.message(text));
  }
}
