package espalier.adapters.hira;

/** How the factors of HiRA start. */
public enum HiraInit {
  /** A uniform in ±1/√fan_in, B zero; on an embedding A zero, B normal: {@code true}. */
  UNIFORM,
  /** A normal with deviation 1/r, B zero; on convolutions and embeddings as {@link #UNIFORM}. */
  GAUSSIAN,
  /** Both standard normal, so that the output changes: {@code false}. */
  UNSET
}
