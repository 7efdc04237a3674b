package espalier.nn;

import static org.bytedeco.pytorch.global.torch.getDefaultCPUGenerator;
import static org.bytedeco.pytorch.global.torch.manual_seed;

import org.bytedeco.pytorch.Tensor;

/** The random generator that dropout draws from: seeded, saved and put back. */
public final class RandomState {

  private RandomState() {}

  /** Seeds the generator. */
  public static void seed(long seed) {
    Native.prepare();
    manual_seed(seed);
  }

  /** The generator's state, uint8 [n]. */
  public static Tensor save() {
    return getDefaultCPUGenerator().get_state();
  }

  /** Puts a saved state back. */
  public static void restore(Tensor state) {
    getDefaultCPUGenerator().set_state(state);
  }
}
