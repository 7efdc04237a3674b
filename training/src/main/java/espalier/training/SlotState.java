package espalier.training;

import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.function.Supplier;
import java.util.function.ToLongFunction;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What an optimizer keeps beside its parameters: tensors under "parameter/slot", and how many steps
 * each parameter took under "parameter/step".
 */
final class SlotState implements AutoCloseable {

  /** The entries of a slot that has the size of its parameter. */
  static final ToLongFunction<Tensor> LIKE_PARAMETER = Tensor::numel;

  private static final String STEP = "step";

  private final Map<String, Tensor> parameters;
  private final Map<String, ToLongFunction<Tensor>> kinds;
  private final boolean onHost;
  private final Map<String, Tensor> slots = new LinkedHashMap<>();
  private final Map<String, Long> steps = new LinkedHashMap<>();

  /**
   * A state without slots.
   *
   * @param parameters by name
   * @param kinds the slots that there may be: the entries of each, by its parameter
   */
  SlotState(Map<String, Tensor> parameters, Map<String, ToLongFunction<Tensor>> kinds) {
    this(parameters, kinds, false);
  }

  /**
   * A state without slots.
   *
   * @param onHost whether a restored state is put into the host's memory, and not on the device of
   *     its parameter
   */
  SlotState(
      Map<String, Tensor> parameters, Map<String, ToLongFunction<Tensor>> kinds, boolean onHost) {
    this.parameters = parameters;
    this.kinds = kinds;
    this.onHost = onHost;
  }

  /** A slot, made at its first use. */
  Tensor get(String parameter, String slot, Supplier<Tensor> first) {
    return slots.computeIfAbsent(parameter + "/" + slot, _ -> Scope.owned(first));
  }

  /** Counts a step of a parameter: 1 is the first. */
  long step(String parameter) {
    return steps.merge(parameter, 1L, Long::sum);
  }

  Map<String, Tensor> state() {
    var state = new LinkedHashMap<>(slots);
    steps.forEach((name, t) -> state.put(name + "/" + STEP, tensor(new long[] {t})));
    return state;
  }

  /** Puts a state back; nothing changes if it does not fit. */
  void restore(Map<String, Tensor> state) {
    state.forEach(this::requireFit);
    close();
    try (var _ = new PointerScope()) {
      state.forEach(
          (key, value) -> {
            int cut = key.lastIndexOf('/');
            String name = key.substring(0, cut);
            if (key.substring(cut + 1).equals(STEP)) {
              steps.put(name, value.to(ScalarType.Long).item_long());
            } else {
              Tensor parameter = Objects.requireNonNull(parameters.get(name), name);
              Device home = onHost ? new Device("cpu") : parameter.device();
              slots.put(key, Scope.owned(() -> value.to(home, value.scalar_type()).clone()));
            }
          });
    }
  }

  private void requireFit(String key, Tensor value) {
    int cut = key.lastIndexOf('/');
    Tensor parameter = cut < 0 ? null : parameters.get(key.substring(0, cut));
    if (parameter == null) {
      throw new IllegalArgumentException(
          "the optimizer state holds %s but no parameter of that name is trained; resume with the recipe that the run began with"
              .formatted(key));
    }
    String slot = key.substring(cut + 1);
    ToLongFunction<Tensor> kind = slot.equals(STEP) ? _ -> 1 : kinds.get(slot);
    if (kind == null || kind.applyAsLong(parameter) != value.numel()) {
      throw new IllegalArgumentException(
          "the optimizer state holds %s with %d entries, which this optimizer does not keep for a parameter of %d; resume with the optimizer that the run began with"
              .formatted(key, value.numel(), parameter.numel()));
    }
  }

  @Override
  public void close() {
    slots.values().forEach(Tensor::close);
    slots.clear();
    steps.clear();
  }
}
