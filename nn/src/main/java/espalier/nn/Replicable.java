package espalier.nn;

import java.util.List;
import java.util.Set;

/** The root of a model whose blocks can be strung together anew, some of them several times. */
public interface Replicable {

  /**
   * For each present block the index of the checkpoint's block that it is: 0, 1, 2 ... until
   * something was repeated.
   */
  List<Integer> sources();

  /** The paths of the blocks that share their weights with another block. */
  Set<String> replicas();

  /**
   * Makes a new list of blocks out of the present one. A block that is named twice shares its
   * weights with itself and has a slot for adapters of its own.
   *
   * @param sources for each block of the new list the index of the present block that it repeats
   * @return the present list, until it is decided which of the two stays
   * @throws IllegalArgumentException if an index is not there or the model can not do it
   * @throws IllegalStateException if a block has adapters
   */
  Repetition repeat(int... sources);

  /** A new list of blocks that is in place and may still be taken back. */
  interface Repetition extends AutoCloseable {

    /** Decides for the new list; the old one is freed. */
    void keep();

    /** Puts the old list back and frees the new one, unless {@link #keep} was called. */
    @Override
    void close();
  }
}
