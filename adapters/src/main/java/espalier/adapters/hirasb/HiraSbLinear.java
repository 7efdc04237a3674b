package espalier.adapters.hirasb;

import static org.bytedeco.pytorch.global.torch.dropout;
import static org.bytedeco.pytorch.global.torch.ones_like;

import espalier.adapters.hira.Hadamard;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * HiRA-SB on a linear layer: ΔW = s · W ⊙ (B R A), where B and A are frozen and come from the first
 * gradient of the task, and only R, r² numbers, trains.
 *
 * <p>Between B and Q = s R A it is HiRA's branch. With the preconditioner what trains under R's
 * name is Z, vec R = L⁻ᵀ vec Z / s; files always hold R.
 */
public final class HiraSbLinear extends Adapter {

  private static final String R = "hirasb_R";

  private final Linear layer;
  private final double dropout;
  private final boolean additive;
  private final boolean precondition;
  private final double s;
  private final Tensor r; // [r, r], or Z
  private final Tensor a; // [r, in]
  private final Tensor b; // [out, r]
  private @Nullable Tensor triangle; // L of the Gram matrix [r², r²]

  HiraSbLinear(HiraSbConfig config, Linear layer, String path, int rank, Init init) {
    this.layer = layer;
    dropout = config.dropout();
    additive = config.space() == Space.ADDITIVE;
    precondition = config.precondition();
    Double given = config.scale();
    s = given == null ? Math.sqrt((double) layer.out() * layer.in()) / rank : given;
    Tensor w = factor();
    HiraSbStart start =
        init.isBlank()
            ? HiraSbStart.blank(w, rank)
            : HiraSbStart.of(config, w, rank, s, path, init);
    r = parameter(R, start.r());
    a = constant("hirasb_A", start.bases().a());
    b = constant("hirasb_B", start.bases().b());
    if (precondition && !init.isBlank()) {
      whiten();
    }
  }

  /** What the update is multiplied by [out, in]. */
  private Tensor factor() {
    Tensor w = wide(layer.originalWeight()).detach();
    return additive ? ones_like(w) : w;
  }

  /** Takes R, as it stands, over into the coordinates Z of the present bases. */
  private void whiten() {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor w = factor();
      var bases = new Bases(like(b, w), like(a, w));
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

  @Override
  public Linear layer() {
    return layer;
  }

  /** R in plain coordinates [r, r], float32 or wider. */
  public Tensor plainR() {
    Tensor l = triangle;
    return l == null ? wide(r) : like(new Gram(l).plain(like(r, l), s), wide(r));
  }

  /** s · R · A [r, in]. */
  private Tensor right() {
    return plainR().mm(wide(a)).mul(new Scalar(s * scale()));
  }

  @Override
  public Tensor first(Tensor x) {
    return additive || (dropout > 0 && training())
        ? forward(x, layer.base(x))
        : Hadamard.whole(layer, x, b, right());
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor kept = dropout > 0 && training() ? dropout(x, dropout, true) : x;
    Tensor branch =
        additive
            ? kept.to(b.scalar_type().intern()).matmul(like(right(), b).t()).matmul(b.t())
            : Hadamard.branch(layer, kept, b, right());
    return y.add(branch.to(y.scalar_type().intern()));
  }

  @Override
  public Tensor deltaWeight() {
    Tensor m = wide(b).mm(right());
    return additive ? m : m.mul(wide(layer.originalWeight()));
  }

  /** What belongs in the file: R, A and B. */
  Map<String, Tensor> saved() {
    var state = new LinkedHashMap<>(state());
    if (triangle != null) {
      try (var _ = new NoGradGuard()) {
        state.put(R, like(plainR(), r).detach());
      }
    }
    return state;
  }

  @Override
  public void load(Map<String, Tensor> saved) {
    Tensor present = triangle;
    if (present != null && !saved.containsKey(R)) { // new bases under the present R
      try (var _ = new PointerScope();
          var _ = new NoGradGuard()) {
        r.set_data(like(plainR(), r).detach());
      }
    }
    super.load(saved);
    if (precondition) {
      whiten();
    }
  }

  @Override
  public void close() {
    super.close();
    if (triangle != null) {
      triangle.close();
      triangle = null;
    }
  }
}
