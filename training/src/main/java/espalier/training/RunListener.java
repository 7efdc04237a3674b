package espalier.training;

import java.nio.file.Path;
import java.util.List;

/**
 * Is told what a run does, on the thread that trains, in the order in which it happens.
 *
 * <p>What a listener throws ends the run.
 */
public interface RunListener {

  /** An optimizer step is done. */
  default void step(StepMetrics metrics) {}

  /** An evaluation is done. */
  default void eval(EvalMetrics metrics) {}

  /** A checkpoint or the adapter has been written to {@code folder}, whole. */
  default void saved(Path folder) {}

  /** Something that a person should read: a sentence, without a line end. */
  default void message(String text) {}

  /** One listener that passes everything on to {@code listeners}, in their order. */
  static RunListener all(List<? extends RunListener> listeners) {
    return new Listeners(List.copyOf(listeners));
  }
}
