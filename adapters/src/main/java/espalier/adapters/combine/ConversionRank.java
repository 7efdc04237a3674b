package espalier.adapters.combine;

import espalier.adapters.ConfigException;

/** How much of an update becomes LoRA. */
public sealed interface ConversionRank {

  /**
   * The same rank on every layer.
   *
   * @param r 1 or more, and at most the smaller side of every layer
   */
  record Fixed(int r) implements ConversionRank {
    /** Checks the rank. */
    public Fixed {
      if (r < 1) {
        throw new ConfigException(
            "rank is %d but a rank is 1 or more; give a number between 0 and 1 as a threshold"
                .formatted(r));
      }
    }
  }

  /**
   * On each layer the smallest rank whose singular values have a part of the energy of all: Σσ² of
   * those that are kept, beside Σσ² of the update.
   *
   * @param threshold the part, in (0, 1]
   */
  record Energy(double threshold) implements ConversionRank {
    /** Checks the threshold. */
    public Energy {
      if (!(threshold > 0 && threshold <= 1)) {
        throw new ConfigException(
            "threshold is %s but a part of the update's energy lies in (0, 1]; 0.99 is usual"
                .formatted(threshold));
      }
    }
  }
}
