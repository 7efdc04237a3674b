package espalier.checkpoints;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.TypeMeta;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What libtorch wants to know to make a tensor of a type. Made once for each type and never freed:
 * a model has hundreds of tensors, and native objects cost more than all else there.
 *
 * @param options no more than the dtype
 * @param bytes the size of an item
 */
record ItemType(TensorOptions options, long bytes) {

  private static final Map<ScalarType, ItemType> BY_TYPE = new ConcurrentHashMap<>();

  static ItemType of(ScalarType type) {
    return BY_TYPE.computeIfAbsent(type, ItemType::make);
  }

  private static ItemType make(ScalarType type) {
    // libtorch asserts on these two, which ends the JVM.
    if (type == ScalarType.NumOptions || type == ScalarType.Undefined) {
      throw new IllegalArgumentException(
          type.name() + " is no number type; name one, such as Float or BFloat16");
    }
    TensorOptions options = new TensorOptions(type).retainReference();
    try (TypeMeta meta = options.dtype()) {
      return new ItemType(options, meta.itemsize());
    }
  }
}
