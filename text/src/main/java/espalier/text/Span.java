package espalier.text;

/**
 * A stretch of text, in UTF-16 units of a Java string.
 *
 * @param start first unit of the stretch
 * @param end first unit after it
 */
public record Span(int start, int end) {

  public Span {
    if (start < 0 || end < start) {
      throw new IllegalArgumentException(
          "the span is [%d, %d) but a span starts at 0 or later and does not end before it starts"
              .formatted(start, end));
    }
  }

  /** Whether [start, end) and this span share at least one unit. */
  public boolean overlaps(int start, int end) {
    return start < this.end && end > this.start;
  }
}
