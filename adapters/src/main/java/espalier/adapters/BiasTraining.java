package espalier.adapters;

import java.util.Locale;

/** Which biases of the base model train along with an adapter. */
public enum BiasTraining {
  /** None. */
  NONE,
  /** All of the model's. */
  ALL,
  /** Those of the layers that the adapter is on. */
  ADAPTED;

  /**
   * The word for {@code bias} in a file.
   *
   * @param own the method's word for {@link #ADAPTED}
   */
  public String word(String own) {
    return this == ADAPTED ? own : name().toLowerCase(Locale.ROOT);
  }

  /**
   * Reads {@code bias}: {@code none}, {@code all}, or a word that ends in {@code _only}, whichever
   * method's it is, as the reference takes it.
   *
   * @param own the method's word for {@link #ADAPTED}
   * @throws ConfigException if it is another word
   */
  public static BiasTraining of(ConfigFields in, String own) {
    return switch (in.text("bias", "none")) {
      case "none" -> NONE;
      case "all" -> ALL;
      case String only when only.endsWith("_only") -> ADAPTED;
      case String other ->
          throw new ConfigException(
              "bias is %s but none, all and %s are known".formatted(other, own));
    };
  }
}
