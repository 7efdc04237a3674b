package espalier.checkpoints;

import java.io.IOException;
import java.io.Serial;
import java.time.Duration;

/**
 * An answer of the hub after which the same request may well succeed: too many, or out of order.
 */
final class HubUnavailable extends IOException {

  @Serial private static final long serialVersionUID = 1;

  private final transient Duration retryAfter;

  HubUnavailable(String message, Duration retryAfter) {
    super(message);
    this.retryAfter = retryAfter;
  }

  /** How long the hub asks to wait; zero if it does not say. */
  Duration retryAfter() {
    return retryAfter;
  }
}
