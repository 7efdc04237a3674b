package espalier.training;

import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;

/** Tensors that an optimizer keeps beside its parameters, under "parameter/slot". */
final class SlotState implements AutoCloseable {

  private final Map<String, Tensor> slots = new LinkedHashMap<>();

  Tensor get(String parameter, String slot, java.util.function.Supplier<Tensor> first) {
    return slots.computeIfAbsent(parameter + "/" + slot, _ -> Scope.owned(first));
  }

  Map<String, Tensor> all() {
    return new LinkedHashMap<>(slots);
  }

  void restore(Map<String, Tensor> state, Map<String, Tensor> parameters) {
    state.forEach(
        (key, value) -> {
          int cut = key.lastIndexOf('/');
          String parameter = cut < 0 ? key : key.substring(0, cut);
          if (!parameters.containsKey(parameter)) {
            throw new IllegalArgumentException(
                "the optimizer state holds %s but no parameter of that name is trained; resume with"
                        .formatted(key)
                    + " the recipe that the run began with");
          }
        });
    close();
    state.forEach((key, value) -> slots.put(key, Scope.owned(value::clone)));
  }

  @Override
  public void close() {
    slots.values().forEach(Tensor::close);
    slots.clear();
  }
}
