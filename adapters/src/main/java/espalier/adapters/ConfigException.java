package espalier.adapters;

import java.util.List;

/** A setting, or a combination of settings, that can be known to be wrong from the config alone. */
public final class ConfigException extends IllegalArgumentException {

  private static final long serialVersionUID = 1;

  @SuppressWarnings("serial") // a List.of
  private final List<String> violations;

  /** One violation. */
  public ConfigException(String violation) {
    this(List.of(violation));
  }

  /** All violations that were found, at least one. */
  public ConfigException(List<String> violations) {
    super(String.join("; ", violations));
    this.violations = List.copyOf(violations);
  }

  /** Every violation, a sentence each. */
  public List<String> violations() {
    return violations;
  }
}
