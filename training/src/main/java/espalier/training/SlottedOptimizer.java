package espalier.training;

import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/** An optimizer whose memory between steps is some tensors for each parameter. */
abstract class SlottedOptimizer implements Optimizer {

  private final List<ParameterGroup> groups;
  private final SlotState slots;

  /**
   * Of all parameters of the groups.
   *
   * @param slots closed with the optimizer
   */
  SlottedOptimizer(List<ParameterGroup> groups, SlotState slots) {
    this.groups = List.copyOf(groups);
    this.slots = slots;
  }

  final SlotState slots() {
    return slots;
  }

  @Override
  public final List<ParameterGroup> groups() {
    return groups;
  }

  @Override
  public final Map<String, Tensor> state() {
    return slots.state();
  }

  @Override
  public void restore(Map<String, Tensor> state) {
    slots.restore(state);
  }

  @Override
  public final void close() {
    slots.close();
  }
}
