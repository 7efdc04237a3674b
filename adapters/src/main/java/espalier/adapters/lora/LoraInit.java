package espalier.adapters.lora;

import org.jspecify.annotations.Nullable;

/**
 * How the factors of LoRA start: {@code init_lora_weights}, with the settings that belong to it.
 */
public sealed interface LoraInit {

  /**
   * Whether the first factors are taken out of the base, so that the base has W − s·B·A and adding
   * them back gives W.
   */
  default boolean takenOut() {
    return switch (this) {
      case Pissa(), FastPissa _, Olora(), Corda _, LoraGa _ -> true;
      case Uniform(), Unset(), Gaussian(), Orthogonal(), Mica(), Eva _, Loftq _ -> false;
    };
  }

  /**
   * Whether the start draws or saw data, so that putting the adapter on the untouched base again,
   * as loading does, can not repeat it.
   */
  default boolean unrepeatable() {
    return takenOut() && !(this instanceof Pissa) && !(this instanceof Olora);
  }

  /** A uniform in ±1/√fan_in, B zero: {@code true}. */
  record Uniform() implements LoraInit {}

  /** A and B as fresh layers have them, so that the output changes: {@code false}. */
  record Unset() implements LoraInit {}

  /** A normal with deviation 1/r, B zero. */
  record Gaussian() implements LoraInit {}

  /** Neither factor zero, their product zero. */
  record Orthogonal() implements LoraInit {}

  /** Principal singular triplets, taken out of the base. */
  record Pissa() implements LoraInit {}

  /**
   * Principal singular triplets by a randomised decomposition, taken out of the base.
   *
   * @param iterations power iterations, 0 or more
   */
  record FastPissa(int iterations) implements LoraInit {}

  /** QR factors, taken out of the base. */
  record Olora() implements LoraInit {}

  /** Minor left singular vectors as a frozen B, A zero. */
  record Mica() implements LoraInit {}

  /**
   * Components of the weight times the covariance of its inputs, taken out of the base.
   *
   * @param cacheFile where the factors are kept, or null
   * @param covarianceFile where the covariances are kept, or null
   * @param knowledge whether the smallest components are taken (kpm) and not the largest (ipm)
   * @param halfCovariance whether covariances are summed in float16
   * @param pruneFields whether covariances are dropped after attaching
   */
  record Corda(
      @Nullable String cacheFile,
      @Nullable String covarianceFile,
      boolean knowledge,
      boolean verbose,
      boolean halfCovariance,
      boolean pruneFields)
      implements LoraInit {

    /** The prepared singular values, [r]. */
    public static final String VALUES = "eigens.S_WC";

    /** The prepared left vectors, [out, r]. */
    public static final String LEFT = "eigens.U_WC";

    /** The prepared right vectors with the covariance taken back, [in, r]. */
    public static final String RIGHT = "eigens.V_WC";
  }

  /**
   * Principal components of the inputs, with ranks shared out by explained variance.
   *
   * @param rho how many times its share a layer may get, 1 or more
   * @param tau cosine from which a component counts as converged, in [0, 1]
   * @param useLabelMask whether inputs at masked labels are left out
   * @param labelMaskValue the label that masks
   * @param whiten whether components are divided by the root of their singular value
   * @param adjustScaling whether alpha follows the rank
   */
  record Eva(
      double rho,
      double tau,
      boolean useLabelMask,
      int labelMaskValue,
      boolean whiten,
      boolean adjustScaling)
      implements LoraInit {

    /** The prepared components of a layer's inputs, [r, in]. */
    public static final String COMPONENTS = "eva_components";

    /** The values of the paper. */
    public static Eva defaults() {
      return new Eva(2, 0.99, true, -100, false, true);
    }
  }

  /**
   * What quantising the base would lose.
   *
   * @param bits 4 or 8
   * @param iterations alternations, 1 or more
   */
  record Loftq(int bits, int iterations) implements LoraInit {}

  /**
   * Singular vectors of the gradient, taken out of the base.
   *
   * @param direction which vectors go to A and which to B
   * @param scale how the factors are scaled
   * @param stableGamma divisor of the stable scale
   */
  record LoraGa(Direction direction, Scale scale, int stableGamma) implements LoraInit {

    /** The prepared gradient of a layer's weight, [out, in]. */
    public static final String GRADIENT = "_peft_loraga_grad";

    /** The values of the paper. */
    public static LoraGa defaults() {
      return new LoraGa(Direction.AR_B2R, Scale.STABLE, 16);
    }
  }

  /** Which singular vectors LoRA-GA gives to A and which to B. */
  enum Direction {
    /** Alternating. */
    AR_BR("ArBr"),
    /** The second r to A, the first r to B. */
    A2R_BR("A2rBr"),
    /** The first r to A, the second r to B. */
    AR_B2R("ArB2r"),
    /** The same random r of 2r to both. */
    RANDOM("random");

    private final String written;

    Direction(String written) {
      this.written = written;
    }

    /** The word in files. */
    public String written() {
      return written;
    }
  }

  /** How LoRA-GA scales its factors. */
  enum Scale {
    /** By the root of the output width. */
    STABLE("stable"),
    /** By the largest singular value of the weight. */
    WEIGHT_SVD("weight_svd"),
    /** By the adapter's own scaling. */
    GD_SCALE("gd_scale"),
    /** Not at all. */
    UNIT("unit");

    private final String written;

    Scale(String written) {
      this.written = written;
    }

    /** The word in files. */
    public String written() {
      return written;
    }
  }
}
