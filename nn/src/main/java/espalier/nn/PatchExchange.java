package espalier.nn;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Patches that leave a weight and patches that come in their place.
 *
 * <p>Where the weight is plain memory, it is gone through in blocks that a core's cache holds: what
 * leaves a block and what comes is written while it is there, so the weight passes through the
 * cache once. Nothing but entries is computed, so the blocks of all weights of a model can be
 * shared out among a few threads.
 */
final class PatchExchange {

  /** Entries of a weight in a block: 256 KB in float32. */
  private static final long BLOCK = 1 << 16;

  /** Entries to write from which on a second thread is worth waking. */
  private static final long WORTH_A_THREAD = 1 << 17;

  private final Tensor weight;
  private final List<Patch> leaving; // the last one in is the first one out
  private final List<Patch> coming;
  private int left;
  private int come;

  PatchExchange(Tensor weight, List<Patch> leaving, List<Patch> coming) {
    this.weight = weight;
    this.leaving = leaving;
    this.coming = coming;
  }

  void run() {
    run(List.of(this));
  }

  /** Carries out exchanges in different weights. */
  static void run(Collection<PatchExchange> exchanges) {
    var blocks = new ArrayList<Block>();
    var direct = new ArrayList<PatchExchange>();
    long entries = 0;
    for (PatchExchange exchange : exchanges) {
      EntryMemory memory = exchange.memory();
      if (memory == null) {
        exchange.byLibrary();
        continue;
      }
      direct.add(exchange);
      entries += memory.entries();
      for (long from = 0; from < memory.size(); from += BLOCK) {
        blocks.add(new Block(memory, from));
      }
    }
    run(blocks, entries < WORTH_A_THREAD ? 1 : Native.threads());
    direct.forEach(PatchExchange::carriedOut);
  }

  private record Block(EntryMemory memory, long from) {
    void run() {
      memory.exchange(from, Math.min(from + BLOCK, memory.size()));
    }
  }

  private static void run(List<Block> blocks, int threads) {
    if (threads == 1) {
      blocks.forEach(Block::run);
      return;
    }
    // Taken one by one, so that a thread that is held up holds up nobody else.
    var next = new AtomicInteger();
    IntStream.range(0, threads)
        .parallel()
        .forEach(
            _ -> {
              int at;
              while ((at = next.getAndIncrement()) < blocks.size()) {
                blocks.get(at).run();
              }
            });
  }

  private @Nullable EntryMemory memory() {
    return EntryMemory.of(weight, leaving, coming);
  }

  private void byLibrary() {
    for (Patch patch : leaving) {
      patch.leave(weight);
      left++;
    }
    for (Patch patch : coming) {
      patch.enter(weight);
      come++;
    }
  }

  private void carriedOut() {
    TensorStamp.renew(weight);
    coming.forEach(Patch::entered);
    left = leaving.size();
    come = coming.size();
  }

  /** Brings back what was there before {@link #run}, as far as that went. */
  void revert() {
    List<Patch> back = leaving.subList(0, left).reversed();
    new PatchExchange(weight, coming.subList(0, come).reversed(), back).run();
    left = 0;
    come = 0;
  }
}
