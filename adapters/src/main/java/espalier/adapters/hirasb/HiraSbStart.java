package espalier.adapters.hirasb;

import static org.bytedeco.pytorch.global.torch.ones_like;

import espalier.adapters.ConfigException;
import espalier.adapters.NotFiniteException;
import espalier.nn.Init;
import java.util.Arrays;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * First values of HiRA-SB on one layer.
 *
 * @param bases B and A
 * @param r R in plain coordinates [r, r]
 */
record HiraSbStart(Bases bases, Tensor r) {

  private static final int STEPS = 20;

  /** All zero, for a file to fill. */
  static HiraSbStart blank(Tensor w, long rank) {
    return new HiraSbStart(
        new Bases(w.new_zeros(w.size(0), rank), w.new_zeros(rank, w.size(1))),
        w.new_zeros(rank, rank));
  }

  /**
   * From the gradient that was averaged over batches of the task.
   *
   * @param w what the update is multiplied by [m, n], float32 or wider
   */
  static HiraSbStart of(HiraSbConfig config, Tensor w, int rank, double s, String path, Init init) {
    Tensor gradient = gradient(init.prepared(HiraSbConfig.GRADIENT), w, path);
    Tensor d = config.updateTarget() == UpdateTarget.SIGN ? gradient.sign() : gradient;
    boolean additive = config.space() == Space.ADDITIVE;
    var own = Init.stream(config.initSeed(), "hirasb", path);
    boolean empty = !additive && w.abs().max().item_double() == 0;
    Bases bases =
        Bases.of(
            Weighting.of(empty ? ones_like(w) : w),
            empty ? d.mul(w) : d,
            rank,
            additive ? 0 : config.alsSweeps(),
            own);
    Tensor r =
        config.matchStep() == 0
            ? w.new_zeros(rank, rank)
            : matched(w, bases, d).mul(new Scalar(-config.matchStep() / s));
    return new HiraSbStart(bases, r);
  }

  private static Tensor gradient(@Nullable Tensor given, Tensor w, String path) {
    if (given == null) {
      throw new ConfigException(
          "%s has no gradient but HiRA-SB takes its bases from one; average the gradient of the weight over calibration_batches batches of the task and attach with InitSource.withPrepared(path -> {gradient: [%d, %d]})"
              .formatted(path, w.size(0), w.size(1)));
    }
    if (given.dim() != 2 || given.size(0) != w.size(0) || given.size(1) != w.size(1)) {
      throw new ConfigException(
          "the gradient of %s is %s but its weight is [%d, %d]; give the gradient of the weight as [out, in]"
              .formatted(path, Arrays.toString(given.shape()), w.size(0), w.size(1)));
    }
    Tensor gradient = given.to(w.device(), w.scalar_type().intern());
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
