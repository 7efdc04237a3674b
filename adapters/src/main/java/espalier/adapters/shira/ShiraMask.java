package espalier.adapters.shira;

import java.util.Locale;
import org.jspecify.annotations.Nullable;

/** How the trained entries are chosen: {@code mask_type} in files. */
public sealed interface ShiraMask {

  /** The word in files. */
  String word();

  /** Whether the choice needs gradients, which {@link ShiraCalibration} takes. */
  default boolean needsGradient() {
    return this == Known.GRADIENT || this == Known.SNIP;
  }

  /** The choices of this library. */
  enum Known implements ShiraMask {
    /** A permutation from a private generator, the same for all layers of one shape. */
    RANDOM,
    /** The largest |W|. */
    WEIGHT_MAGNITUDE,
    /** The largest |G|, with G the gradient averaged over calibration batches. */
    GRADIENT,
    /** The largest |W ⊙ G|. */
    SNIP,
    /** The main diagonal and evenly spaced whole lines. */
    STRUCT;

    @Override
    public String word() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  /**
   * A choice of the user's own.
   *
   * @param word what stands in the file
   * @param function the choice, or null where the entries come from a file
   */
  record Custom(String word, @Nullable MaskFunction function) implements ShiraMask {}

  /** The choice behind a word; a word that is not known stands for entries that are in a file. */
  static ShiraMask of(String word) {
    for (Known known : Known.values()) {
      if (known.word().equals(word)) {
        return known;
      }
    }
    return new Custom(word, null);
  }
}
