package espalier.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/**
 * Runs a command in several processes of this machine that compute a model together. This process
 * computes nothing: it passes on what rank 0 says, and ends all of them as soon as one has failed.
 */
final class LocalRanks {

  /** How long the others have to end by themselves once one has failed. */
  private static final Duration GRACE = Duration.ofSeconds(10);

  private final Output output;
  private final int size;
  private final String way;

  /**
   * So many ranks.
   *
   * @param way what a person can do where one was killed
   */
  LocalRanks(Output output, int size, String way) {
    this.output = output;
    this.size = size;
    this.way = way;
  }

  /**
   * Runs all ranks to their end.
   *
   * @param command the command with its arguments, as each of them runs it
   * @return 0, or the exit code of the one that failed first
   */
  int run(List<String> command) {
    try {
      Path folder = Files.createTempDirectory("espalier-ranks");
      try {
        return run(command, folder.resolve("meeting"));
      } finally {
        Files.deleteIfExists(folder.resolve("meeting"));
        Files.delete(folder);
      }
    } catch (IOException e) {
      throw new IllegalStateException("the %d ranks can not be started: %s".formatted(size, e), e);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while ranks were running", e);
    }
  }

  private int run(List<String> command, Path meeting) throws IOException, InterruptedException {
    var all = new CopyOnWriteArrayList<RankProcess>(); // the hook may walk it at any time
    var end = new Thread(() -> all.forEach(RankProcess::stop), "ranks");
    Runtime.getRuntime().addShutdownHook(end);
    try {
      for (int rank = 0; rank < size; rank++) {
        List<String> own = RankCommand.arguments(rank, size, meeting, command);
        all.add(RankProcess.start(ThisProgram.command(own), rank, output));
      }
      await(all);
      RankProcess cause = cause(all);
      if (cause == null) {
        return 0;
      }
      output.note(cause.error(size, way));
      return cause.exitCode() == ErrorReport.WRONG ? ErrorReport.WRONG : ErrorReport.FAILED;
    } finally {
      all.forEach(RankProcess::stop);
      forget(end);
    }
  }

  private static void forget(Thread hook) {
    try {
      Runtime.getRuntime().removeShutdownHook(hook);
    } catch (IllegalStateException _) {
      // the program is ending, and the hook does its work
    }
  }

  /** Waits for all; once one has failed, the others are given a moment and then stopped. */
  private static void await(List<RankProcess> all) throws InterruptedException {
    var ended = new LinkedBlockingQueue<RankProcess>();
    all.forEach(rank -> rank.whenEnded(() -> ended.add(rank)));
    long until = Long.MAX_VALUE;
    for (int i = 0; i < all.size(); i++) {
      RankProcess one =
          until == Long.MAX_VALUE
              ? ended.take()
              : ended.poll(until - System.nanoTime(), TimeUnit.NANOSECONDS);
      if (one == null) {
        all.forEach(RankProcess::stop);
        one = ended.take();
      }
      if (one.exitCode() != 0 && until == Long.MAX_VALUE) {
        until = System.nanoTime() + GRACE.toNanos();
      }
    }
    for (RankProcess rank : all) {
      rank.finishReading();
    }
  }

  /** The rank that the failure began with; null if all are well. */
  private static @Nullable RankProcess cause(List<RankProcess> all) {
    return all.stream()
        .filter(rank -> rank.exitCode() != 0)
        .min(
            // One that failed because another had gone, or that was stopped here, is no cause.
            Comparator.comparing(RankProcess::stopped)
                .thenComparing(rank -> rank.exitCode() == RankCommand.LEFT)
                .thenComparingInt(RankProcess::rank))
        .orElse(null);
  }
}
