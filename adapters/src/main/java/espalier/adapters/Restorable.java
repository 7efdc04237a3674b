package espalier.adapters;

import java.util.List;

/** A state that holds until it is closed, for try-with-resources. */
public final class Restorable implements AutoCloseable {

  private final Runnable restore;
  private final List<String> warnings;
  private boolean closed;

  Restorable(List<String> warnings, Runnable restore) {
    this.warnings = List.copyOf(warnings);
    this.restore = restore;
  }

  /** What the user should know, sentences. */
  public List<String> warnings() {
    return warnings;
  }

  /** Brings back what was before. Closing twice is harmless. */
  @Override
  public void close() {
    if (!closed) {
      closed = true;
      restore.run();
    }
  }
}
