package espalier.training;

import espalier.text.Example;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;

/**
 * The order in which an epoch takes the examples: a function of the settings, the epoch and the
 * examples alone, equal on every machine and in every release of Java.
 */
public sealed interface EpochOrder {

  /**
   * The order of one epoch.
   *
   * @param epoch counted from 0
   * @return each index of {@code examples} once
   */
  int[] indexes(List<Example> examples, int epoch);

  /** The order of the files, the same in every epoch. */
  record InFileOrder() implements EpochOrder {

    @Override
    public int[] indexes(List<Example> examples, int epoch) {
      return IntStream.range(0, examples.size()).toArray();
    }
  }

  /**
   * A new random order for each epoch: 0, 1, 2, ... shuffled by Fisher and Yates with SplitMix64,
   * which starts from mix(mix(seed) + epoch).
   */
  record Shuffled(long seed) implements EpochOrder {

    @Override
    public int[] indexes(List<Example> examples, int epoch) {
      int[] order = IntStream.range(0, examples.size()).toArray();
      SplitMix64.of(seed, epoch).shuffle(order);
      return order;
    }
  }

  /**
   * Random, but examples of like length stand together, so that unpacked batches need little
   * padding. The shuffled order is cut into pools of {@value #BATCHES_A_POOL} batches, each pool is
   * sorted by length, longest first, and the batches of a pool are shuffled again.
   *
   * @param batchSize examples of one micro-batch, 1 or more
   */
  record LengthGrouped(long seed, int batchSize) implements EpochOrder {

    private static final int BATCHES_A_POOL = 50;

    public LengthGrouped {
      if (batchSize < 1) {
        throw new IllegalArgumentException(
            "batch_size is %d but a batch holds 1 example or more".formatted(batchSize));
      }
    }

    @Override
    public int[] indexes(List<Example> examples, int epoch) {
      int[] order = IntStream.range(0, examples.size()).toArray();
      SplitMix64 random = SplitMix64.of(seed, epoch);
      random.shuffle(order);
      int[] grouped = new int[order.length];
      int poolSize = Math.clamp((long) BATCHES_A_POOL * batchSize, 1, Math.max(1, order.length));
      for (int from = 0; from < order.length; from += poolSize) {
        int to = Math.min(order.length, from + poolSize);
        int[] pool =
            Arrays.stream(order, from, to)
                .boxed()
                .sorted(
                    (a, b) -> Integer.compare(examples.get(b).length(), examples.get(a).length()))
                .mapToInt(Integer::intValue)
                .toArray();
        // Only whole batches change places: a short one in the middle would shift all after it.
        int[] batches = IntStream.range(0, pool.length / batchSize).toArray();
        random.shuffle(batches);
        int at = from;
        for (int batch : batches) {
          System.arraycopy(pool, batch * batchSize, grouped, at, batchSize);
          at += batchSize;
        }
        int whole = batches.length * batchSize;
        System.arraycopy(pool, whole, grouped, at, pool.length - whole);
      }
      return grouped;
    }
  }
}
