package espalier.adapters.hirasb;

/** What the low-rank factor acts on. */
public enum Space {
  /** ΔW = s · W ⊙ (B R A): {@code hadamard}. */
  HADAMARD,
  /** ΔW = s · B R A, ones in the place of W, which is LoRA-SB: {@code additive}. */
  ADDITIVE
}
