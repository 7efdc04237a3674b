package espalier.training;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * The factors of one low-rank branch s·B·A, and how they fall into branches of their own that share
 * no rows of A and no entries of the product.
 *
 * @param a A [r, in...]
 * @param b B [out, r...]
 * @param scaling s, not 0
 * @param blocks how many branches; 1 for plain LoRA
 * @param split how the columns of B belong to them; of A each has its share of the rows
 * @param between d [r], where the branch is s·B·diag(d)·A; null where nothing stands between them
 */
public record LoraPair(
    Tensor a, Tensor b, double scaling, int blocks, Split split, @Nullable Tensor between) {

  /** How B falls into blocks. */
  public enum Split {
    /** B is [out, r]: block after block of columns. Plain LoRA, and a block-diagonal A. */
    COLUMNS,
    /**
     * B is [out, r / blocks]: block after block of rows. Grouped convolutions, block-diagonal B.
     */
    ROWS,
    /** B is [out, r / blocks, blocks]: of each rank one column for each expert. */
    EXPERTS
  }

  /** Checks that the shapes fit. */
  public LoraPair {
    long rank = a.size(0) / blocks; // of a block
    long columns = b.numel() / b.size(0);
    boolean fits =
        a.size(0) % blocks == 0
            && columns == (split == Split.ROWS ? rank : a.size(0))
            && (split != Split.ROWS || b.size(0) % blocks == 0);
    if (!fits) {
      throw new IllegalArgumentException(
          "B has %d rows of %d and A has %d rows, which is no pair of %d blocks"
              .formatted(b.size(0), columns, a.size(0), blocks));
    }
    if (between != null && (blocks != 1 || between.numel() != a.size(0))) {
      throw new IllegalArgumentException(
          "what stands between A of %d rows and B has %d numbers and %d blocks, but it needs one number a row and one block"
              .formatted(a.size(0), between.numel(), blocks));
    }
    if (scaling == 0 || !Double.isFinite(scaling)) {
      throw new IllegalArgumentException(
          "the factor on B·A is %s, so B has no effect to learn from; set lora_alpha above 0"
              .formatted(scaling));
    }
  }

  /** A pair with nothing between its factors. */
  public LoraPair(Tensor a, Tensor b, double scaling, int blocks, Split split) {
    this(a, b, scaling, blocks, split, null);
  }

  /** A pair of plain LoRA. */
  public static LoraPair of(Tensor a, Tensor b, double scaling) {
    return new LoraPair(a, b, scaling, 1, Split.COLUMNS);
  }

  /** The same pair with a diagonal d [r] between its factors, as KaSA has one. */
  public LoraPair with(Tensor diagonal) {
    return new LoraPair(a, b, scaling, blocks, split, diagonal);
  }

  /** What B is multiplied with, as {@link #blocksOfA} has it: A, or diag(d)·A. */
  Tensor rightOfB() {
    Tensor parts = blocksOfA(a);
    return between == null ? parts : parts.mul(wide(between).view(1, -1, 1));
  }

  /** What A is multiplied with, as {@link #blocksOfB} has it: B, or B·diag(d). */
  Tensor leftOfA() {
    Tensor parts = blocksOfB(b);
    return between == null ? parts : parts.mul(wide(between).view(1, 1, -1));
  }

  /** A, or a tensor of its shape, as [blocks, r / blocks, n], float32 or wider. */
  Tensor blocksOfA(Tensor like) {
    return wide(like).reshape(blocks, a.size(0) / blocks, -1);
  }

  /** B, or a tensor of its shape, as [blocks, m, r / blocks], float32 or wider. */
  Tensor blocksOfB(Tensor like) {
    Tensor rows = wide(like).flatten(1, -1);
    long rank = a.size(0) / blocks;
    return switch (split) {
      case COLUMNS -> rows.view(b.size(0), blocks, rank).transpose(0, 1);
      case ROWS -> rows.view(blocks, b.size(0) / blocks, rank);
      case EXPERTS -> rows.view(b.size(0), rank, blocks).permute(2, 0, 1);
    };
  }

  /** What {@link #blocksOfB} made, in the shape of B again. */
  Tensor shapedAsB(Tensor parts) {
    Tensor rows =
        switch (split) {
          case COLUMNS -> parts.transpose(0, 1);
          case ROWS -> parts;
          case EXPERTS -> parts.permute(1, 2, 0);
        };
    return rows.reshape(b.sizes());
  }

  private static Tensor wide(Tensor tensor) {
    return tensor.scalar_type().intern() == ScalarType.Double
        ? tensor
        : tensor.to(ScalarType.Float);
  }
}
