package espalier.adapters.hirasb;

import static org.bytedeco.pytorch.global.torch.ones_like;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Scope;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * HiRA-SB: ΔW = s · W ⊙ (B R A), where B and A are frozen and come from the first gradient of the
 * task, and only R, r² numbers, trains.
 *
 * <p>With the preconditioner what trains under R's name is Z, vec R = L⁻ᵀ vec Z / s; files always
 * hold R.
 */
public abstract sealed class HiraSbAdapter extends Adapter permits HiraSbLinear, HiraSbConvolution {

  static final String R = "hirasb_R";
  static final String A = "hirasb_A";
  static final String B = "hirasb_B";

  private final Adaptable layer;
  private final boolean additive;
  private final boolean precondition;
  private final boolean random;
  private final BasisDtype basisDtype;
  private final double s;
  private final Tensor r; // [r, r], or Z
  private final Tensor a; // [r, in] or [r, in, k...]
  private final Tensor b; // [out, r] or [out, r, 1...]
  private @Nullable Tensor triangle; // L of the Gram matrix [r², r²]

  HiraSbAdapter(HiraSbConfig config, Adaptable layer, String path, int rank, Init init) {
    this.layer = layer;
    additive = config.space() == Space.ADDITIVE;
    precondition = config.precondition();
    basisDtype = config.start().basisDtype();
    Tensor w = matrix(layer);
    s = config.scaleOf(w.size(0), w.size(1), rank);
    HiraSbStart start =
        init.isBlank() ? HiraSbStart.blank(w, rank) : HiraSbStart.of(config, w, rank, path, init);
    random = start.random();
    r = parameter(R, start.r());
    long[] shape = layer.originalWeight().shape();
    // Strided bases would be summed in another order than those that a file gives back.
    a = constant(A, start.bases().a().contiguous().view(shapeOfA(shape, rank)));
    b = constant(B, start.bases().b().contiguous().view(shapeOfB(shape, rank)));
    if (precondition && !init.isBlank()) {
      whiten();
    }
  }

  private static long[] shapeOfA(long[] weight, long rank) {
    long[] shape = weight.clone();
    shape[0] = rank;
    return shape;
  }

  private static long[] shapeOfB(long[] weight, long rank) {
    long[] shape = new long[weight.length];
    Arrays.fill(shape, 1);
    shape[0] = weight[0];
    shape[1] = rank;
    return shape;
  }

  /** The weight of a layer as a matrix [out, in · kernel], float32 or wider. */
  static Tensor matrix(Adaptable layer) {
    return wide(layer.originalWeight()).detach().flatten(1, -1);
  }

  /** What the update is multiplied by [out, in · kernel]. */
  private Tensor factor() {
    Tensor w = matrix(layer);
    return additive ? ones_like(w) : w;
  }

  /** Takes R, as it stands, over into the coordinates Z of the present bases. */
  private void whiten() {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor w = factor();
      var bases = new Bases(like(left(), w), like(a.flatten(1, -1), w));
      var gram = Gram.of(w, bases, Gram.RIDGE);
      Tensor z = gram.whitened(like(r, w), s);
      Tensor old = triangle;
      triangle = Scope.own(gram.l());
      if (old != null) {
        old.close();
      }
      r.set_data(like(z, r));
    }
  }

  private static Tensor like(Tensor tensor, Tensor other) {
    return tensor.to(other.scalar_type().intern());
  }

  /** Whether the update is not multiplied by the weight. */
  final boolean additive() {
    return additive;
  }

  /** Whether the bases know nothing of the task because its gradient said nothing. */
  final boolean random() {
    return random;
  }

  /** The factor s on B R A. */
  public final double s() {
    return s;
  }

  /** R in plain coordinates [r, r], float32 or wider. */
  public final Tensor plainR() {
    Tensor l = triangle;
    return l == null ? wide(r) : like(new Gram(l).plain(like(r, l), s), wide(r));
  }

  /** B [out, r]. */
  final Tensor left() {
    return b.flatten(1, -1);
  }

  /** s · R · A [r, in · kernel], float32 or wider. */
  final Tensor right() {
    return plainR().mm(wide(a).flatten(1, -1)).mul(new Scalar(s * scale()));
  }

  /** What the weight is multiplied by, less 1, or what is added to it; in the weight's shape. */
  public final Tensor modulation() {
    return wide(left()).mm(right()).view_as(layer.originalWeight());
  }

  @Override
  public final Tensor deltaWeight() {
    return additive ? modulation() : modulation().mul(wide(layer.originalWeight()));
  }

  /** What belongs in the file: R, A and B. */
  final Map<String, Tensor> saved() {
    var state = new LinkedHashMap<>(state());
    try (var _ = new NoGradGuard()) {
      if (triangle != null) {
        state.put(R, like(plainR(), r).detach());
      }
      state.put(A, basisDtype.stored(a));
      state.put(B, basisDtype.stored(b));
    }
    return state;
  }

  @Override
  public final Runnable loading(Map<String, Tensor> saved) {
    Runnable factors = super.loading(saved);
    return () -> {
      restore(saved);
      factors.run();
      if (precondition) {
        whiten();
      }
    };
  }

  private void restore(Map<String, Tensor> saved) {
    Tensor present = triangle;
    if (present != null && !saved.containsKey(R)) { // new bases under the present R
      try (var _ = new PointerScope();
          var _ = new NoGradGuard()) {
        r.set_data(like(plainR(), r).detach());
      }
    }
  }

  @Override
  public final void close() {
    super.close();
    if (triangle != null) {
      triangle.close();
      triangle = null;
    }
  }
}
