package espalier.nn.parallel;

import espalier.nn.Collective;
import espalier.nn.Native;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.time.Duration;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.LongStream;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.javacpp.chrono.Milliseconds;
import org.bytedeco.pytorch.BroadcastOptions;
import org.bytedeco.pytorch.FileStore;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.ProcessGroupGloo;
import org.bytedeco.pytorch.Store;
import org.bytedeco.pytorch.TCPStore;
import org.bytedeco.pytorch.TCPStoreOptions;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.Work;

/**
 * Ranks that are processes, on one machine or several, which talk over Gloo. Each gives the same
 * meeting point and its own number.
 */
public final class GlooCollective implements Collective {

  private static final String LOOPBACK = "127.0.0.1";

  private final Store store;
  private final ProcessGroupGloo group;
  private final int rank;
  private final int size;
  private volatile boolean failed;

  private GlooCollective(
      Supplier<Store> place, String address, int rank, int size, Duration patience) {
    if (rank < 0 || rank >= size) {
      throw new IllegalArgumentException(
          "rank is %d of %d but ranks go from 0 to %d".formatted(rank, size, size - 1));
    }
    Native.prepare();
    this.rank = rank;
    this.size = size;
    try (var _ = new PointerScope()) {
      store = Native.call("the ranks' meeting point", place).retainReference();
      group =
          Native.call(
                  "rank %d of %d".formatted(rank, size),
                  () -> group(store, address, rank, size, patience))
              .retainReference();
    }
  }

  private static ProcessGroupGloo group(
      Store store, String address, int rank, int size, Duration patience) {
    ProcessGroupGloo.Options options = ProcessGroupGloo.Options.create();
    options.devices().push_back(ProcessGroupGloo.createDeviceForHostname(address));
    options.timeout(new Milliseconds(patience.toMillis()));
    return new ProcessGroupGloo(store, rank, size, options);
  }

  /**
   * Joins processes of one machine.
   *
   * @param meeting a file that does not exist yet, the same for all ranks; it is removed at the end
   * @param patience how long to wait for the others, here and in each operation
   * @throws IllegalStateException if the others do not come
   */
  public static GlooCollective onThisMachine(Path meeting, int rank, int size, Duration patience) {
    return new GlooCollective(
        () -> new FileStore(meeting.toString(), size), LOOPBACK, rank, size, patience);
  }

  /**
   * Joins processes of several machines.
   *
   * @param host where rank 0 runs
   * @param port a free port there
   * @param address this machine's own name or address, as the others reach it
   * @param patience how long to wait for the others, here and in each operation
   * @throws IllegalStateException if the others do not come
   */
  public static GlooCollective between(
      String host, int port, String address, int rank, int size, Duration patience) {
    return new GlooCollective(
        () ->
            new TCPStore(
                host,
                new TCPStoreOptions()
                    .port((short) port)
                    .isServer(rank == 0)
                    .waitWorkers(false)
                    .timeout(new Milliseconds(patience.toMillis()))),
        address,
        rank,
        size,
        patience);
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
    inPlace("a sum", tensor, group::allreduce);
  }

  @Override
  public void broadcast(Tensor tensor) {
    inPlace(
        "a broadcast",
        tensor,
        one -> group.broadcast(one, new BroadcastOptions().rootRank(0).rootTensor(0)));
  }

  private void inPlace(String what, Tensor tensor, Function<TensorVector, Work> operation) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor plain = tensor.detach();
      boolean dense = plain.is_contiguous();
      Tensor sent = dense ? plain : plain.contiguous();
      await(what, () -> operation.apply(new TensorVector(sent)));
      if (!dense) {
        plain.copy_(sent);
      }
    }
  }

  @Override
  public Tensor gather(Tensor part) {
    return Scope.result(
        () -> {
          try (var _ = new NoGradGuard()) {
            Tensor sent = part.detach().contiguous().view(-1); // Gloo takes and gives one row
            Tensor all = sent.new_empty(size * sent.numel());
            await("a gathering", () -> group._allgather_base(all, sent));
            long[] shape =
                LongStream.concat(LongStream.of(size), LongStream.of(part.shape())).toArray();
            return all.view(shape);
          }
        });
  }

  private void await(String what, Supplier<Work> operation) {
    try {
      Native.call("%s of rank %d".formatted(what, rank), () -> operation.get()._wait());
    } catch (RuntimeException e) {
      failed = true;
      throw e;
    }
  }

  /**
   * Whether an operation failed because another rank has gone or did not come in time. What this
   * rank does next can only fail too, and the cause lies elsewhere.
   */
  public boolean failed() {
    return failed;
  }

  @Override
  public void close() {
    group.close();
    store.close();
  }
}
