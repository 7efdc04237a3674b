package espalier.adapters.calibration;

import org.bytedeco.pytorch.Tensor;

/**
 * The processes that calibrate together, each on its own part of the batches and with the same
 * model. All of them must go through the same calls.
 */
public interface Ranks {

  /** Puts the sum over all processes in the place of a tensor. */
  void sum(Tensor tensor);

  /** Puts the first process' numbers in the place of a tensor. */
  void broadcast(Tensor tensor);

  /** One process by itself. */
  static Ranks alone() {
    return new Ranks() {
      @Override
      public void sum(Tensor tensor) {}

      @Override
      public void broadcast(Tensor tensor) {}
    };
  }
}
