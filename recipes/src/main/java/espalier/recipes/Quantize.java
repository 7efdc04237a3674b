package espalier.recipes;

/** How the frozen base is stored. */
public enum Quantize {
  /** In the recipe's dtype. */
  NONE
}
