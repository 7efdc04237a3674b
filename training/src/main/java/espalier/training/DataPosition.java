package espalier.training;

/**
 * How far a run has come in its data.
 *
 * @param epoch the pass over the data, from 0
 * @param index examples of this pass already used; {@code index} is below the number of examples
 */
public record DataPosition(int epoch, int index) {

  /** Before the first example. */
  public static final DataPosition START = new DataPosition(0, 0);

  public DataPosition {
    if (epoch < 0 || index < 0) {
      throw new IllegalArgumentException(
          "position (epoch %d, index %d) does not exist; both count from 0"
              .formatted(epoch, index));
    }
  }
}
