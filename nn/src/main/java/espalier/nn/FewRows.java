package espalier.nn;

import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Dispatcher;
import org.bytedeco.pytorch.GenericList;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.ListType;
import org.bytedeco.pytorch.OperatorHandle;
import org.bytedeco.pytorch.OptionalType;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Linear products of a few float32 rows, as decoding a batch needs them, by oneDNN. The BLAS packs
 * the whole weight for them first: it was measured at half of oneDNN's speed and less. Without
 * oneDNN in the build nothing is offered.
 */
final class FewRows {

  private static final int MOST_ROWS = 32; // above it both are level
  private static final long LEAST_WEIGHT = 1 << 16; // below it the call costs more than it gains

  private static final boolean PRESENT = torch.hasMKLDNN();

  private FewRows() {}

  /** What the operator wants beside the tensors, made once; it has no Java method of its own. */
  private static final class Call {
    static final OperatorHandle LINEAR;
    static final OperatorHandle REORDER;
    static final IValue NO_ACTIVATION;
    static final IValue NO_SCALARS;
    static final IValue NONE;

    static {
      try (var _ = new PointerScope()) { // whatever scope is open here must not free these
        LINEAR =
            Dispatcher.singleton()
                .findSchemaOrThrow("mkldnn::_linear_pointwise", "")
                .retainReference();
        REORDER =
            Dispatcher.singleton()
                .findSchemaOrThrow("mkldnn::_reorder_linear_weight", "")
                .retainReference();
        NO_ACTIVATION = new IValue("none").retainReference();
        NO_SCALARS =
            new IValue(new GenericList(OptionalType.get(ListType.ofNumbers().containedType(0))))
                .retainReference();
        NONE = new IValue().retainReference();
      }
    }
  }

  /** What {@link #linear} takes in the place of w, in an order of its own: opaque, 2-D. */
  static Tensor packed(Tensor w, long rows) {
    return Scope.result(
        () -> {
          var stack = new IValueVector();
          stack.push_back(new IValue(w.detach()));
          stack.push_back(new IValue(rows));
          Call.REORDER.callBoxed(stack);
          return new Tensor(stack.get(0).toTensor());
        });
  }

  /** Whether x Wᵀ is such a product and needs no gradient. */
  static boolean fit(Tensor x, Tensor w) {
    return PRESENT
        && x.numel() <= MOST_ROWS * x.size(-1)
        && w.numel() >= LEAST_WEIGHT
        && x.scalar_type().intern() == ScalarType.Float
        && w.scalar_type().intern() == ScalarType.Float
        && x.is_cpu()
        && w.is_contiguous()
        && !(GradMode.is_enabled() && (x.requires_grad() || w.requires_grad()));
  }

  /** x Wᵀ + bias; x [..., in], W [out, in] or packed, bias [out] or null. */
  static Tensor linear(Tensor x, Tensor w, @Nullable Tensor bias) {
    return Scope.result(
        () -> {
          var stack = new IValueVector();
          stack.push_back(new IValue(x.contiguous()));
          stack.push_back(new IValue(w));
          stack.push_back(bias == null ? Call.NONE : new IValue(bias));
          stack.push_back(Call.NO_ACTIVATION);
          stack.push_back(Call.NO_SCALARS);
          stack.push_back(Call.NONE);
          Call.LINEAR.callBoxed(stack);
          return new Tensor(stack.get(0).toTensor());
        });
  }
}
