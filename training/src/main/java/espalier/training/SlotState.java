package espalier.training;

import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.nn.Scope;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What an optimizer keeps beside its parameters: tensors under "parameter/slot", and how many steps
 * each parameter took under "parameter/step".
 */
final class SlotState implements AutoCloseable {

  /** The shape of a slot that has that of its parameter. */
  static final Function<Tensor, long[]> LIKE_PARAMETER = Tensor::shape;

  private static final String STEP = "step";

  private final Map<String, Tensor> parameters;
  private final List<Map<String, Function<Tensor, long[]>>> forms;
  private final boolean onHost;
  private final Map<String, Tensor> slots = new LinkedHashMap<>();
  private final Map<String, Long> steps = new LinkedHashMap<>();

  /**
   * A state without slots.
   *
   * @param parameters by name
   * @param form the slots of a parameter: the shape of each, by its parameter
   */
  SlotState(Map<String, Tensor> parameters, Map<String, Function<Tensor, long[]>> form) {
    this(parameters, List.of(form), false);
  }

  /**
   * A state without slots.
   *
   * @param forms the slots of a parameter in each form that its state may have
   * @param onHost whether a restored state is put into the host's memory, and not on the device of
   *     its parameter
   */
  SlotState(
      Map<String, Tensor> parameters,
      List<Map<String, Function<Tensor, long[]>>> forms,
      boolean onHost) {
    this.parameters = parameters;
    this.forms = forms;
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
    state.keySet().stream()
        .map(SlotState::parameter)
        .distinct()
        .forEach(parameter -> requireWhole(parameter, state.keySet()));
    close();
    try (var _ = new PointerScope()) {
      state.forEach(
          (key, value) -> {
            String name = parameter(key);
            if (slot(key).equals(STEP)) {
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
    Tensor parameter = parameters.get(parameter(key));
    if (parameter == null) {
      throw new IllegalArgumentException(
          "the optimizer state holds %s but no parameter of that name is trained; resume with the recipe that the run began with"
              .formatted(key));
    }
    String slot = slot(key);
    boolean fits =
        slot.equals(STEP)
            ? value.numel() == 1
            : forms.stream()
                .map(form -> form.get(slot))
                .anyMatch(
                    shape -> shape != null && Arrays.equals(shape.apply(parameter), value.shape()));
    if (!fits) {
      throw new IllegalArgumentException(
          "the optimizer state holds %s of shape %s, which this optimizer does not keep for a parameter of shape %s; resume with the optimizer that the run began with"
              .formatted(key, Arrays.toString(value.shape()), Arrays.toString(parameter.shape())));
    }
  }

  private void requireWhole(String parameter, Set<String> keys) {
    var present = new TreeSet<String>();
    keys.stream()
        .filter(key -> parameter(key).equals(parameter) && !slot(key).equals(STEP))
        .forEach(key -> present.add(slot(key)));
    if (forms.stream().noneMatch(form -> form.keySet().equals(present))) {
      throw new IllegalArgumentException(
          "the optimizer state of %s holds %s, but %s belong together and would begin anew in part; resume from another checkpoint"
              .formatted(
                  parameter,
                  present,
                  forms.stream()
                      .map(form -> String.valueOf(new TreeSet<>(form.keySet())))
                      .collect(Collectors.joining(" or "))));
    }
  }

  private static String parameter(String key) {
    return key.substring(0, Math.max(0, key.lastIndexOf('/')));
  }

  private static String slot(String key) {
    return key.substring(key.lastIndexOf('/') + 1);
  }

  @Override
  public void close() {
    slots.values().forEach(Tensor::close);
    slots.clear();
    steps.clear();
  }
}
