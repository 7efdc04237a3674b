package espalier.training;

import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/** Changes parameters by their gradients, and keeps what it must remember between steps. */
public interface Optimizer extends AutoCloseable {

  /**
   * Takes one step. Parameters without a gradient are left as they are.
   *
   * @param factor the schedule's factor on every group's learning rate
   */
  void step(double factor);

  /** What is trained, with which learning rates and decays, in order. */
  List<ParameterGroup> groups();

  /** The learning rate that is reported: that of the first group, without the factor. */
  default double learningRate() {
    return groups().isEmpty() ? 0 : groups().getFirst().learningRate();
  }

  /** What a resumed run needs, by parameter name and slot; handles stay owned by the optimizer. */
  Map<String, Tensor> state();

  /**
   * Puts a saved state back.
   *
   * @throws IllegalArgumentException if it does not belong to these parameters
   */
  void restore(Map<String, Tensor> state);

  @Override
  void close();
}
