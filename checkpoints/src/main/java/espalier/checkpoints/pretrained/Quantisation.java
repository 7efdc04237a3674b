package espalier.checkpoints.pretrained;

import espalier.nn.FourBit;
import espalier.nn.FourBitWeight;
import espalier.nn.Int4Weight;
import espalier.nn.Int8Weight;
import espalier.nn.QuantisedWeight;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * How the weights of a model's linear layers are held in memory. Embeddings, norms, biases, the
 * layer that gives scores and stacked experts keep the model's dtype.
 */
public enum Quantisation {
  /** In the model's dtype. */
  NONE,
  /** NF4 with quantised scales: 4.13 bits a value. */
  NF4,
  /** FP4, a float of 4 bits, with quantised scales: 4.13 bits a value. */
  FP4,
  /** 8-bit integers with one scale a row. */
  INT8,
  /**
   * 4-bit integers with a scale and a zero point for each group of inputs, as QALoRA needs them.
   */
  INT4,
  /**
   * As the file stores them: the blocks of a GGUF file, or matrices in float8 of a folder. Its
   * pages are mapped and not copied.
   */
  KEEP;

  /** Inputs of a group in {@link #INT4}, where they divide those of the layer. */
  private static final int GROUP = 64;

  /**
   * Quantises a weight.
   *
   * @param weight [out, in]
   * @throws IllegalArgumentException if this form can not hold it
   */
  QuantisedWeight of(Tensor weight) {
    ScalarType dtype = weight.scalar_type().intern();
    return switch (this) {
      case NF4 -> FourBitWeight.quantise(weight, FourBit.NF4, dtype);
      case FP4 -> FourBitWeight.quantise(weight, FourBit.FP4, dtype);
      case INT8 -> Int8Weight.quantise(weight, dtype);
      case INT4 -> Int4Weight.quantise(weight, dtype, group(weight.size(1)));
      case NONE, KEEP -> throw new IllegalStateException(this + " does not quantise");
    };
  }

  private static long group(long inputs) {
    long group = GROUP;
    while (group > 2 && inputs % group != 0) {
      group /= 2;
    }
    return group;
  }
}
