package espalier.checkpoints;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardCopyOption.REPLACE_EXISTING;
import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.io.InputStream;
import java.io.Serial;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/**
 * Fetches one file's content into the cache: into {@code ETAG.incomplete}, where the next attempt,
 * also of another process on another day, goes on; checked, then renamed to {@code ETAG}.
 */
final class HubTransfer {

  /** Less than this gained between two cuts does not count as getting on. */
  private static final long PROGRESS = 1 << 20;

  private static final Pattern RANGE = Pattern.compile("bytes (\\d+)-.*");

  private final HubClient client;
  private final HubSettings settings;
  private final HubFile file;
  private final String commit;
  private final Path blob;
  private final Path part;
  private final Consumer<String> progressLine;
  private int tenths;

  HubTransfer(
      HubClient client,
      HubSettings settings,
      HubFile file,
      String commit,
      Path blob,
      Consumer<String> progressLine) {
    this.client = client;
    this.settings = settings;
    this.file = file;
    this.commit = commit;
    this.blob = blob;
    this.part = blob.resolveSibling(blob.getFileName() + ".incomplete");
    this.progressLine = progressLine;
  }

  /**
   * @throws CheckpointException if it cannot be fetched, or what comes is not what the hub
   *     announced
   */
  void run() {
    AtomicFiles.createFolder(blob.resolveSibling("."));
    try {
      checkRoom();
      // What an earlier process left may be wrong; what came in this one must be right.
      boolean all = have() == 0;
      while (true) {
        fetch();
        String fault = fault();
        if (fault == null) {
          Files.move(part, blob, ATOMIC_MOVE, REPLACE_EXISTING);
          return;
        }
        Files.delete(part);
        if (all) {
          throw new CheckpointException(
              ("%s of the hub %s; something on the way alters it, look at your proxy or"
                      + " try again later")
                  .formatted(file.name(), fault));
        }
        progressLine.accept(file.name() + ": what was there of it is wrong, starting over");
        all = true;
      }
    } catch (IOException e) {
      throw AtomicFiles.cannotWrite(part, e);
    }
  }

  /** Goes on until the content has come to its end, however often it is cut. */
  private void fetch() throws IOException {
    var retries = new Retries(settings.pause());
    long most = have();
    while (true) {
      try {
        attempt();
        return;
      } catch (NetworkTrouble e) {
        long have = have();
        if (have >= most + PROGRESS) {
          retries.progressed();
        }
        most = Math.max(most, have);
        progressLine.accept(
            "%s: the transfer broke off at %s (%s), going on"
                .formatted(file.name(), Bytes.text(have), e.getMessage()));
        try {
          retries.after(e.cause());
        } catch (IOException last) {
          throw new CheckpointException(
              ("%s could not be fetched: the transfer broke off %d times, last at %s (%s); what has"
                      + " come is kept, the same command goes on from there")
                  .formatted(file.name(), Retries.ATTEMPTS, Bytes.text(have), e.getMessage()),
              last);
        }
      }
    }
  }

  private void attempt() throws IOException, NetworkTrouble {
    long have = have();
    if (file.size() >= 0 && have > file.size()) {
      Files.delete(part);
      have = 0;
    }
    if (have > 0 && have == file.size()) {
      return;
    }
    HttpResponse<InputStream> response;
    try {
      response = client.read(file.name(), commit, have);
    } catch (IOException e) {
      throw new NetworkTrouble(e);
    }
    try (InputStream body = response.body();
        var guard = new StallGuard(body, settings.timeout());
        var out = FileChannel.open(part, CREATE, WRITE)) {
      long at = start(response, have);
      out.truncate(at).position(at);
      if (response.statusCode() == 416) {
        throw new NetworkTrouble(new IOException("the server has no such part of it"));
      }
      refuseCompressed(response);
      copy(guard, out, at, response);
      out.force(true);
    }
  }

  private void refuseCompressed(HttpResponse<?> response) {
    String encoding = response.headers().firstValue("Content-Encoding").orElse("identity");
    if (!encoding.equals("identity")) {
      throw new CheckpointException(
          "%s comes compressed (%s), which was not asked for; look at your proxy"
              .formatted(file.name(), encoding));
    }
  }

  /** Where the bytes of an answer belong. */
  private static long start(HttpResponse<?> response, long asked) {
    if (response.statusCode() != 206) {
      return 0; // ranges are ignored, or this one was refused: from the beginning
    }
    var range = RANGE.matcher(response.headers().firstValue("Content-Range").orElse(""));
    return range.matches() && Long.parseLong(range.group(1)) == asked ? asked : 0;
  }

  private void copy(StallGuard in, FileChannel out, long start, HttpResponse<?> response)
      throws IOException, NetworkTrouble {
    if (response.statusCode() == 206 && start == 0) {
      throw new NetworkTrouble(new IOException("the server sent another part than asked for"));
    }
    byte[] buffer = new byte[1 << 16];
    long at = start;
    while (true) {
      int count;
      try {
        count = in.read(buffer);
      } catch (IOException e) {
        throw new NetworkTrouble(e);
      }
      if (count < 0) {
        break;
      }
      write(out, ByteBuffer.wrap(buffer, 0, count));
      at += count;
      report(at);
    }
    boolean announced = response.headers().firstValue("Content-Length").isPresent();
    if (!announced && at < file.size()) {
      throw new NetworkTrouble(new IOException("the server ended early"));
    }
  }

  private void write(FileChannel out, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      out.write(bytes);
    }
  }

  /** One line for each tenth of a file that takes a while. */
  private void report(long at) {
    if (file.size() >= 16 * PROGRESS) {
      int now = (int) (10 * at / file.size());
      if (now != tenths) {
        tenths = now;
        progressLine.accept(
            "%s: %d %% of %s".formatted(file.name(), 10 * now, Bytes.text(file.size())));
      }
    }
  }

  /** What is wrong with the content that has come, or null. */
  private @Nullable String fault() throws IOException {
    long have = have();
    if (file.size() >= 0 && have != file.size()) {
      return "came with %d bytes, but %d were announced".formatted(have, file.size());
    }
    if (file.hasSha256()) {
      String sha256 = sha256();
      if (!sha256.equals(file.etag())) {
        return "came with the SHA-256 %s, but %s was announced".formatted(sha256, file.etag());
      }
    }
    return null;
  }

  private String sha256() throws IOException {
    try (InputStream in = Files.newInputStream(part)) {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      byte[] buffer = new byte[1 << 16];
      for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
        digest.update(buffer, 0, count);
      }
      return HexFormat.of().formatHex(digest.digest());
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }

  private void checkRoom() throws IOException {
    long free = Files.getFileStore(blob.toAbsolutePath().getParent()).getUsableSpace();
    long wanted = file.size() - have();
    if (wanted > free) {
      throw new CheckpointException(
          "%s needs %s more in %s, but %s are free; make room, or name another folder in HF_HOME"
              .formatted(
                  file.name(),
                  Bytes.text(wanted),
                  blob.toAbsolutePath().getParent(),
                  Bytes.text(free)));
    }
  }

  private long have() throws IOException {
    return Files.exists(part) ? Files.size(part) : 0;
  }

  /** A failure of the network, told apart from one of this machine's disk. */
  private static final class NetworkTrouble extends Exception {

    @Serial private static final long serialVersionUID = 1;

    private final transient IOException failure;

    NetworkTrouble(IOException failure) {
      super(HubSnapshot.sentence(failure), failure);
      this.failure = failure;
    }

    IOException cause() {
      return failure;
    }
  }
}
