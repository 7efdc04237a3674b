package espalier.checkpoints.gguf;

import espalier.nn.QuantisedWeight;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * A weight that stays in the blocks of a GGUF file: its pages are read where they are mapped, row
 * by row in Hugging Face's order. The file must stay open as long as the weight is used.
 */
final class GgufWeight implements QuantisedWeight {

  private final GgufModel model;
  private final String name;
  private final ScalarType dtype;
  private final List<Long> shape;

  GgufWeight(GgufModel model, String name, ScalarType dtype) {
    this.model = model;
    this.name = name;
    this.dtype = dtype.intern();
    shape = model.shape(name);
  }

  @Override
  public String format() {
    return model.format(name).name();
  }

  @Override
  public long out() {
    return shape.getFirst();
  }

  @Override
  public long in() {
    return shape.getLast();
  }

  @Override
  public ScalarType dtype() {
    return dtype;
  }

  @Override
  public Object identity() {
    return List.of(model, name);
  }

  @Override
  public long bytes() {
    BlockFormat format = model.format(name);
    return out() * in() / format.elements() * format.bytes();
  }

  @Override
  public void decode(long from, Tensor to) {
    try (var _ = new PointerScope()) {
      to.copy_(rows(from, to.size(0), to.scalar_type().intern()));
    }
  }

  @Override
  public Tensor rows(long from, long length, ScalarType type) {
    return model.dequantiseRows(name, from, from + length, type);
  }

  /** Null: blocks of a file are read and not written. */
  @Override
  public @Nullable QuantisedWeight requantised(Tensor weight) {
    return null;
  }

  @Override
  public boolean writable() {
    return false;
  }

  @Override
  public QuantisedWeight withDtype(ScalarType other) {
    return new GgufWeight(model, name, other);
  }

  /** The file has an owner of its own. */
  @Override
  public void close() {}
}
