package espalier.models;

import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * In what a family of Llama's kin differs from the others.
 *
 * @param architecture the first part of the reference's class name
 * @param headDim default width of a head, or 0 for hidden / heads
 * @param headsDivide whether the hidden width must be a multiple of the heads in any case
 * @param qkNorm whether queries and keys are normed
 */
record LlamaTraits(
    String architecture,
    int headDim,
    boolean headsDivide,
    boolean qkNorm,
    Bias bias,
    Window window,
    double epsilon,
    double theta,
    Sizes defaults) {

  /** Which of the projections have a bias. */
  enum Bias {
    NONE,
    QKV,
    /** As the field {@code attention_bias} says. */
    ASKED
  }

  /** Which blocks look back only so far. */
  enum Window {
    NONE,
    /** All of them, if {@code sliding_window} is a number. */
    ALL,
    /** All of them, if {@code use_sliding_window} too is set. */
    SWITCHED,
    /** Those that {@code layer_types} or {@code max_window_layers} names, if it is switched on. */
    LISTED
  }

  /**
   * Values of the fields that a config may leave out.
   *
   * @param kvHeads 0 for as many as heads
   */
  record Sizes(
      int vocabulary,
      int hidden,
      int inner,
      int layers,
      int heads,
      int kvHeads,
      int positions,
      int window) {}

  private static final Map<String, LlamaTraits> FAMILIES =
      Map.of(
          "llama",
          new LlamaTraits(
              "Llama",
              0,
              true,
              false,
              Bias.ASKED,
              Window.NONE,
              1e-6,
              1e4,
              new Sizes(32000, 4096, 11008, 32, 32, 0, 2048, 0)),
          "mistral",
          new LlamaTraits(
              "Mistral",
              0,
              false,
              false,
              Bias.NONE,
              Window.ALL,
              1e-6,
              1e4,
              new Sizes(32000, 4096, 14336, 32, 32, 8, 131072, 4096)),
          "qwen2",
          new LlamaTraits(
              "Qwen2",
              0,
              false,
              false,
              Bias.QKV,
              Window.LISTED,
              1e-6,
              1e4,
              new Sizes(151936, 4096, 22016, 32, 32, 32, 32768, 4096)),
          "qwen3",
          new LlamaTraits(
              "Qwen3",
              128,
              false,
              true,
              Bias.ASKED,
              Window.LISTED,
              1e-6,
              1e4,
              new Sizes(151936, 4096, 22016, 32, 32, 32, 32768, 4096)),
          "mixtral",
          new LlamaTraits(
              "Mixtral",
              0,
              false,
              false,
              Bias.NONE,
              Window.ALL,
              1e-5,
              1e6,
              new Sizes(32000, 4096, 14336, 32, 32, 8, 131072, 0)),
          "qwen3_moe",
          new LlamaTraits(
              "Qwen3Moe",
              0,
              false,
              true,
              Bias.ASKED,
              Window.SWITCHED,
              1e-6,
              1e4,
              new Sizes(151936, 2048, 6144, 24, 32, 4, 32768, 4096)));

  /** The traits of a model type, or null if it is no kin of Llama. */
  static @Nullable LlamaTraits of(String modelType) {
    return FAMILIES.get(modelType);
  }
}
