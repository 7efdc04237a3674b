package espalier.nn.parallel;

import static org.bytedeco.pytorch.global.torch.stack;

import espalier.nn.Collective;
import espalier.nn.Scope;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.jspecify.annotations.Nullable;

/**
 * Ranks that are threads of one process. It saves neither memory nor time; it shows on one machine
 * what several would do. The threads share one default random generator.
 */
public final class InProcessCollective implements Collective {

  private final Meeting meeting;
  private final int rank;
  private final int size;

  private InProcessCollective(Meeting meeting, int rank, int size) {
    this.meeting = meeting;
    this.rank = rank;
    this.size = size;
  }

  /**
   * Runs a body on so many ranks, each in a thread of its own.
   *
   * @param size how many ranks, 1 or more
   * @param patience how long a rank waits for another
   * @return what the body returned, in the order of the ranks
   * @throws RuntimeException what the first rank that failed threw; the others end too
   */
  public static <T extends @Nullable Object> List<T> run(
      int size, Duration patience, Function<Collective, T> body) {
    if (size < 1) {
      throw new IllegalArgumentException("%d ranks are none; give 1 or more".formatted(size));
    }
    var meeting = new Meeting(size, patience);
    var results = new ArrayList<T>();
    var threads = new ArrayList<Thread>();
    var answers = new Object[size];
    for (int i = 0; i < size; i++) {
      int rank = i;
      var collective = new InProcessCollective(meeting, rank, size);
      threads.add(
          Thread.ofPlatform()
              .name("rank " + rank)
              .start(
                  () -> {
                    try {
                      answers[rank] = body.apply(collective);
                    } catch (RuntimeException | Error e) {
                      meeting.leave(e);
                    }
                  }));
    }
    try {
      for (Thread thread : threads) {
        thread.join();
      }
    } catch (InterruptedException e) {
      meeting.leave(new IllegalStateException("interrupted", e));
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted while ranks were running", e);
    }
    meeting.raise();
    for (Object answer : answers) {
      @SuppressWarnings("unchecked") // what the body returned
      T result = (T) answer;
      results.add(result);
    }
    return results;
  }

  @Override
  public int rank() {
    return rank;
  }

  @Override
  public int size() {
    return size;
  }

  @Override
  public void sum(Tensor tensor) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor[] all = meeting.bring(rank, tensor);
      Tensor sum = all[0].clone(); // every rank in the same order, so the bits are the same
      for (int i = 1; i < size; i++) {
        sum.add_(all[i]);
      }
      meeting.part();
      tensor.detach().copy_(sum);
    }
  }

  @Override
  public void broadcast(Tensor tensor) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor[] all = meeting.bring(rank, tensor);
      if (rank != 0) {
        tensor.detach().copy_(all[0]);
      }
      meeting.part();
    }
  }

  @Override
  public Tensor gather(Tensor part) {
    return Scope.result(
        () -> {
          try (var _ = new NoGradGuard();
              var parts = new TensorVector()) {
            for (Tensor tensor : meeting.bring(rank, part)) {
              parts.push_back(tensor);
            }
            Tensor all = stack(parts, 0);
            meeting.part();
            return all;
          }
        });
  }

  @Override
  public void close() {
    meeting.leave(new IllegalStateException("rank %d has left".formatted(rank)));
  }
}
