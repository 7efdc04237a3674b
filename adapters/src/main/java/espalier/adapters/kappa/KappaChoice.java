package espalier.adapters.kappa;

import espalier.adapters.ConfigException;
import java.util.List;

/** How many of the layers, sorted by condition number, are taken. */
public sealed interface KappaChoice {

  /** So many, or all if there are fewer. */
  record Count(int layers) implements KappaChoice {
    /** Checks. */
    public Count {
      if (layers < 1) {
        throw new ConfigException("num_modules is %d but 1 or more are needed".formatted(layers));
      }
    }
  }

  /** This part of all, rounded down, at least one. */
  record Part(double part) implements KappaChoice {
    /** Checks. */
    public Part {
      if (!(part > 0 && part <= 1)) {
        throw new ConfigException(
            "top_p is %s but must lie in (0, 1]; 0.2 is usual".formatted(part));
      }
    }
  }

  /** Those whose condition number is at most this. */
  record Threshold(double kappa) implements KappaChoice {
    /** Checks. */
    public Threshold {
      if (!(kappa >= 1)) {
        throw new ConfigException(
            "threshold is %s but a condition number is 1 or more".formatted(kappa));
      }
    }
  }

  /** All of them. */
  record All() implements KappaChoice {}

  /** The first of a list that is sorted by condition number, smallest first. */
  default List<Kappa.Measured> of(List<Kappa.Measured> sorted) {
    if (sorted.isEmpty()) {
      return sorted;
    }
    return switch (this) {
      case Count(int layers) -> sorted.subList(0, Math.min(layers, sorted.size()));
      case Part(double part) -> sorted.subList(0, Math.max(1, (int) (sorted.size() * part)));
      case Threshold(double kappa) -> sorted.stream().filter(m -> m.kappa() <= kappa).toList();
      case All() -> sorted;
    };
  }
}
