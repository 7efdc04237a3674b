package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.Linear;
import espalier.nn.Partition;
import espalier.nn.Shard;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A layer's whole weight and bias, copied, trained and saved: what {@code modules_to_save} asks
 * for. Its output replaces that of the base.
 */
public sealed class SavedModule extends Adapter permits FollowingModule {

  private final Adaptable layer;
  private final @Nullable Tensor bias;

  /** Copies the bias; the weight is the subclass's or comes by {@link #of}. */
  SavedModule(Adaptable layer) {
    this.layer = layer;
    Tensor baseBias = layer.adapters().originalBias();
    try (var _ = new NoGradGuard()) {
      bias = baseBias == null ? null : parameter(lastName(), copy(baseBias));
    }
  }

  /** A copy of a layer's weight and bias. */
  static SavedModule of(Adaptable layer) {
    var module = new SavedModule(layer);
    try (var _ = new NoGradGuard()) {
      module.parameter(module.name(), copy(module.stored(layer.originalWeight())));
    }
    return module;
  }

  private static Tensor copy(Tensor tensor) {
    return tensor.detach().clone();
  }

  /** What the weight is called in the file: "weight", or "" if the layer is a stacked parameter. */
  final String name() {
    return layer instanceof Linear linear
        ? linear.weightName()
        : layer.parameters().keySet().iterator().next();
  }

  private String lastName() {
    return layer instanceof Linear linear
        ? linear.biasName()
        : List.copyOf(layer.parameters().keySet()).getLast();
  }

  /** The trained weight as the layer stores it. */
  Tensor weight() {
    return parameter(name());
  }

  // as the file has it: GPT-2's Conv1D keeps its weight as [in, out]
  private Tensor stored(Tensor logical) {
    return layer instanceof Linear linear && linear.transposed() ? logical.t() : logical;
  }

  @Override
  public final Adaptable layer() {
    return layer;
  }

  @Override
  public final Tensor first(Tensor x) {
    Partition partition = layer.partition();
    Tensor own = stored(weight());
    return layer.base(x, partition == null ? own : partition.trained(own), bias);
  }

  @Override
  public @Nullable Shard shard(String name) {
    Partition partition = layer.partition();
    if (partition == null) {
      return null;
    }
    Shard ofWeight = partition.weight();
    boolean turned = layer instanceof Linear linear && linear.transposed();
    return name.equals("bias")
        ? partition.bias()
        : ofWeight != null && turned
            ? new Shard(ofWeight.ranks(), 1 - ofWeight.dimension())
            : ofWeight;
  }

  @Override
  public final Tensor forward(Tensor x, Tensor y) {
    return first(x).to(y.scalar_type().intern());
  }

  /** What stands in the place of the base's own values is of whatever dtype that asks for. */
  @Override
  public final void requireReady(Tensor x) {
    requireFilled();
  }

  @Override
  public final Tensor deltaWeight() {
    return wide(stored(weight())).sub(wide(layer.originalWeight()));
  }

  @Override
  public final Tensor mergedInto(Tensor replaced) {
    return copy(stored(weight()));
  }

  @Override
  public final @Nullable Tensor mergedIntoBias(@Nullable Tensor replaced) {
    return bias == null ? null : copy(bias);
  }

  @Override
  public final @Nullable String rowsRefusal() {
    return layer instanceof Linear || layer instanceof Embedding || layer instanceof Convolution
        ? null
        : "rows of one batch can not have different copies of a " + layer.typeName();
  }
}
