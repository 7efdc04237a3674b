package espalier.adapters.hirasb;

import static org.bytedeco.pytorch.global.torch.ones_like;

import espalier.adapters.ConfigException;
import espalier.adapters.NotFiniteException;
import espalier.nn.Init;
import java.util.Arrays;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * First values of HiRA-SB on one layer, whose weight counts as a matrix.
 *
 * @param bases B and A
 * @param r R in plain coordinates [r, r]
 * @param random whether the bases know nothing of the task because its gradient said nothing
 */
record HiraSbStart(Bases bases, Tensor r, boolean random) {

  /** What to tell of bases that are random. */
  static final String RANDOM =
      "the gradient, or its product with the weight, is zero everywhere, so the bases are random";

  private static final int STEPS = 20;

  /** All zero, for a file to fill. */
  static HiraSbStart blank(Tensor w, long rank) {
    return new HiraSbStart(
        new Bases(w.new_zeros(w.size(0), rank), w.new_zeros(rank, w.size(1))),
        w.new_zeros(rank, rank),
        false);
  }

  /**
   * From what calibration has prepared: the bases and R, or the gradient that was averaged over
   * batches of the task.
   *
   * @param w the layer's weight [m, n], float32 or wider
   * @throws ConfigException if neither is there, or of another shape
   * @throws NotFiniteException if the gradient is not finite
   */
  static HiraSbStart of(HiraSbConfig config, Tensor w, int rank, String path, Init init) {
    Tensor b = init.prepared(HiraSbAdapter.B);
    Tensor a = init.prepared(HiraSbAdapter.A);
    Tensor r = init.prepared(HiraSbAdapter.R);
    if (b != null && a != null && r != null) {
      return new HiraSbStart(
          new Bases(
              prepared(b, HiraSbAdapter.B, w, path, w.size(0), rank),
              prepared(a, HiraSbAdapter.A, w, path, rank, w.size(1))),
          prepared(r, HiraSbAdapter.R, w, path, rank, rank),
          false);
    }
    Tensor gradient = init.prepared(HiraSbConfig.GRADIENT);
    if (gradient == null) {
      throw new ConfigException(
          "%s has no gradient but HiRA-SB takes its bases from one; attach with what HiraSbCalibration.run prepares, or with InitSource.withPrepared(path -> {gradient: [%d, %d]})"
              .formatted(path, w.size(0), w.size(1)));
    }
    return of(config, w, rank, path, gradient);
  }

  private static Tensor prepared(
      Tensor value, String name, Tensor w, String path, long rows, long columns) {
    if (value.dim() != 2 || value.size(0) != rows || value.size(1) != columns) {
      throw new ConfigException(
          "%s of %s was prepared as %s but is [%d, %d] here; calibrate with the config and the model that the adapter is attached with"
              .formatted(name, path, Arrays.toString(value.shape()), rows, columns));
    }
    return value.to(w.device(), w.scalar_type().intern());
  }

  /** From the gradient of a weight, in its shape or as a matrix. */
  static HiraSbStart of(HiraSbConfig config, Tensor weight, int rank, String path, Tensor given) {
    Tensor g = gradient(given, weight, path);
    StartSettings start = config.start();
    Tensor d = start.updateTarget() == UpdateTarget.SIGN ? g.sign() : g;
    boolean additive = config.space() == Space.ADDITIVE;
    Tensor w = additive ? ones_like(weight) : weight;
    var own = Init.stream(start.seed(), "hirasb", path);
    boolean silent = w.mul(d).count_nonzero(new LongOptional()).item_long() == 0;
    boolean empty = w.count_nonzero(new LongOptional()).item_long() == 0;
    // Without any weight nothing can be balanced by it; ones serve as well as anything.
    var weighting = Weighting.of(empty ? ones_like(w) : w);
    Bases found =
        silent
            ? Bases.random(weighting, rank, own)
            : Bases.of(weighting, d, rank, additive ? 0 : start.alsSweeps(), own);
    Bases bases = found.rounded(start.basisDtype());
    double s = config.scaleOf(w.size(0), w.size(1), rank);
    Tensor r =
        start.matchStep() == 0
            ? w.new_zeros(rank, rank)
            : matched(w, bases, d).mul(new Scalar(-start.matchStep() / s));
    return new HiraSbStart(bases, r, silent);
  }

  private static Tensor gradient(Tensor found, Tensor w, String path) {
    Tensor given = found.dim() > 2 ? found.flatten(1, -1) : found; // of a kernel
    if (given.dim() != 2 || given.size(0) != w.size(0) || given.size(1) != w.size(1)) {
      throw new ConfigException(
          "the gradient of %s is %s but its weight is [%d, %d]; give the gradient of the weight as [out, in]"
              .formatted(path, Arrays.toString(found.shape()), w.size(0), w.size(1)));
    }
    return finite(given.to(w.device(), w.scalar_type().intern()), path);
  }

  /** A gradient without NaN and infinities. */
  private static Tensor finite(Tensor gradient, String path) {
    if (!gradient.isfinite().all().item_bool()) {
      throw new NotFiniteException(
          "the gradient of %s has NaN or infinite entries, so no bases can be taken from it; calibrate in float32 or leave the batches out that overflow"
              .formatted(path));
    }
    return gradient;
  }

  /** The X for which W ⊙ (B X A) is the projection of D, by K or, for large r, by iteration. */
  static Tensor matched(Tensor w, Bases bases, Tensor d) {
    Tensor right = bases.gradient(w, d);
    return right.size(0) <= 64
        ? Gram.of(w, bases, Gram.RIDGE).solve(right)
        : conjugate(w, bases, right);
  }

  /** Conjugate gradients on K, which is never formed. */
  static Tensor conjugate(Tensor w, Bases bases, Tensor right) {
    Tensor x = right.new_zeros(right.size(0), right.size(1));
    Tensor residual = right.clone();
    Tensor direction = right.clone();
    double square = residual.square().sum().item_double();
    double enough = square * 1e-14;
    for (int i = 0; i < STEPS && square > enough; i++) {
      Tensor k = bases.gradient(w, bases.update(w, direction));
      double step = square / direction.mul(k).sum().item_double();
      x.add_(direction, new Scalar(step));
      residual.sub_(k, new Scalar(step));
      double next = residual.square().sum().item_double();
      direction.mul_(new Scalar(next / square)).add_(residual);
      square = next;
    }
    return x;
  }
}
