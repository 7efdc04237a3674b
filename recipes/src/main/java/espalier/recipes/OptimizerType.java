package espalier.recipes;

import java.util.Locale;

/** The optimizers that a recipe can name. */
public enum OptimizerType {
  ADAM,
  ADAMW,
  ADAM8BIT,
  ADAMW8BIT,
  PAGED_ADAM8BIT,
  PAGED_ADAMW8BIT,
  SGD,
  LORA_PLUS,
  LORA_FA,
  RIEMANNIAN;

  /** As a recipe has it: {@code lora-plus}. */
  public String key() {
    return name().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  /** Whether it leaves the step itself to another optimizer. */
  boolean wraps() {
    return this == LORA_PLUS || this == RIEMANNIAN;
  }
}
