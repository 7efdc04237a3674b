package espalier.adapters.lokr;

/** How the factors start. */
public enum LokrInit {
  /** The left factor is zero, so a new adapter changes nothing. */
  LEFT_ZERO,
  /** The right factor is zero, as LyCORIS has it ({@code lycoris}). */
  RIGHT_ZERO,
  /** All are drawn, so a new adapter changes the output. */
  DRAWN
}
