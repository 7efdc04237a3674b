package espalier.recipes;

import espalier.checkpoints.pretrained.Quantisation;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** How the frozen base is stored. */
public enum Quantize {
  /** In the recipe's dtype. */
  NONE(Quantisation.NONE),
  /** In NF4, the 4-bit form of QLoRA. */
  NF4(Quantisation.NF4),
  /** In FP4, a float of 4 bits. */
  FP4(Quantisation.FP4),
  /** In 8-bit integers. */
  INT8(Quantisation.INT8),
  /** In 4-bit integers by groups of inputs, as QALoRA needs it. */
  INT4(Quantisation.INT4),
  /** As the file has it: the blocks of a GGUF file, or weights in float8. */
  KEEP(Quantisation.KEEP);

  private final Quantisation quantisation;

  Quantize(Quantisation quantisation) {
    this.quantisation = quantisation;
  }

  /** What the loader of models does. */
  public Quantisation quantisation() {
    return quantisation;
  }

  /** The name in recipes and on the command line. */
  public String key() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** All names. */
  public static List<String> keys() {
    return Arrays.stream(values()).map(Quantize::key).toList();
  }

  /**
   * The form of a name.
   *
   * @throws RecipeException if there is none
   */
  public static Quantize of(String key) {
    for (Quantize form : values()) {
      if (form.key().equals(key)) {
        return form;
      }
    }
    throw new RecipeException(
        "quantize is %s but must be %s".formatted(key, String.join(", ", keys())));
  }
}
