package espalier.text.jinja;

/**
 * What one rendering may spend, so that a template from a stranger cannot hang or fill the JVM.
 *
 * @param steps expressions and statements that are evaluated; long texts and lists that a step
 *     walks through count as more steps, in proportion
 * @param output UTF-16 units of the rendered text, and of any one string on the way to it
 * @param memory UTF-16 units of all strings that are made on the way; an element of a list counts
 *     as eight
 * @param depth expressions and statements that are nested in one another, macro calls included
 */
public record Limits(long steps, int output, long memory, int depth) {

  public static final Limits DEFAULT = new Limits(1_000_000, 4 << 20, 64L << 20, 400);

  public Limits {
    if (steps < 1 || output < 1 || memory < 1 || depth < 1) {
      throw new IllegalArgumentException(
          "the limits are %d steps, %d units of output, %d of memory and depth %d"
                  .formatted(steps, output, memory, depth)
              + " but each must be 1 or more; Limits.DEFAULT suits real chat templates");
    }
  }

  public Limits withSteps(long steps) {
    return new Limits(steps, output, memory, depth);
  }

  /** Sets the output's limit, and the memory's to sixteen times as much. */
  public Limits withOutput(int output) {
    return new Limits(steps, output, 16L * output, depth);
  }
}
