package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.Deque;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;

/**
 * A hub on this machine that behaves as the real one: a listing, metadata by HEAD, large files by a
 * redirect to another host (here another port), ranges; and that fails in the ways real ones do.
 */
final class FakeHub implements AutoCloseable {

  static final String COMMIT = "0123456789abcdef0123456789abcdef01234567";

  /** One request: {@code hub GET /path}, with the token and range it carried. */
  record Request(String server, String method, String path, String token, String range) {
    String line() {
      return server + " " + method + " " + path;
    }
  }

  final Map<String, byte[]> files = new TreeMap<>();
  final List<Request> requests = new CopyOnWriteArrayList<>();

  /** Answers given in order, before any other, to requests whose path ends in the key. */
  final Map<String, Deque<Answer>> first = new ConcurrentHashMap<>();

  /** How many bytes of a large file are sent before the connection is cut, transfer by transfer. */
  final Deque<Integer> cuts = new ArrayDeque<>();

  boolean ignoresRanges;
  boolean stalls;
  int announcedTooMany;
  boolean corrupts;
  String listing = "";

  private final HttpServer hub;
  private final HttpServer cdn;
  private final ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor();

  record Answer(int status, Map<String, String> headers) {}

  FakeHub() {
    try {
      hub = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
      cdn = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    hub.createContext("/", exchange -> handle("hub", exchange));
    cdn.createContext("/", exchange -> handle("cdn", exchange));
    hub.setExecutor(threads);
    cdn.setExecutor(threads);
    hub.start();
    cdn.start();
  }

  void put(String name, String text) {
    files.put(name, text.getBytes(UTF_8));
  }

  String endpoint() {
    return "http://127.0.0.1:" + hub.getAddress().getPort();
  }

  Map<String, String> environment(Path home, String... more) {
    var environment = new HashMap<String, String>();
    environment.put("HF_HOME", home.toString());
    environment.put("HF_ENDPOINT", endpoint());
    environment.put("no_proxy", "127.0.0.1");
    for (int i = 0; i < more.length; i += 2) {
      environment.put(more[i], more[i + 1]);
    }
    return environment;
  }

  HubSettings settings(Path home, String... more) {
    return HubSettings.of(environment(home, more))
        .withTimes(Duration.ofSeconds(20), Duration.ofMillis(1));
  }

  long count(String line) {
    return requests.stream().filter(request -> request.line().equals(line)).count();
  }

  static String sha256(byte[] content) {
    return digest("SHA-256", content);
  }

  static String digest(String algorithm, byte[] content) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance(algorithm).digest(content));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  /** The content of a file that is there. */
  byte[] content(String name) {
    return Objects.requireNonNull(files.get(name), name);
  }

  private void handle(String server, HttpExchange exchange) throws IOException {
    try (exchange) {
      String path = exchange.getRequestURI().getRawPath();
      requests.add(
          new Request(
              server,
              exchange.getRequestMethod(),
              path,
              String.valueOf(exchange.getRequestHeaders().getFirst("Authorization")),
              String.valueOf(exchange.getRequestHeaders().getFirst("Range"))));
      for (var scripted : first.entrySet()) {
        Answer answer = path.endsWith(scripted.getKey()) ? scripted.getValue().poll() : null;
        if (answer != null) {
          answer.headers().forEach(exchange.getResponseHeaders()::add);
          exchange.sendResponseHeaders(answer.status(), -1);
          return;
        }
      }
      if (server.equals("cdn")) {
        send(exchange, content(path.substring(1)));
      } else if (path.startsWith("/api/models/")) {
        list(exchange);
      } else {
        resolve(exchange, path.replaceFirst("^/.*/resolve/[^/]+/", ""));
      }
    }
  }

  private void list(HttpExchange exchange) throws IOException {
    String siblings =
        files.keySet().stream()
            .map(name -> "{\"rfilename\":\"" + name + "\"}")
            .collect(Collectors.joining(","));
    String json =
        listing.isEmpty()
            ? "{\"id\":\"org/name\",\"sha\":\"%s\",\"siblings\":[%s]}".formatted(COMMIT, siblings)
            : listing;
    byte[] body = json.getBytes(UTF_8);
    exchange.sendResponseHeaders(200, body.length);
    exchange.getResponseBody().write(body);
  }

  private void resolve(HttpExchange exchange, String name) throws IOException {
    byte[] content = files.get(name);
    var headers = exchange.getResponseHeaders();
    headers.add("X-Repo-Commit", COMMIT);
    if (content == null) {
      headers.add("X-Error-Code", "EntryNotFound");
      exchange.sendResponseHeaders(404, -1);
    } else if (name.endsWith(".safetensors")) {
      headers.add("X-Linked-Etag", '"' + sha256(content) + '"');
      headers.add("X-Linked-Size", String.valueOf(content.length + announcedTooMany));
      headers.add("Location", "http://127.0.0.1:" + cdn.getAddress().getPort() + "/" + name);
      exchange.sendResponseHeaders(302, -1);
    } else {
      headers.add("ETag", "W/\"" + digest("SHA-1", content) + '"');
      send(exchange, content);
    }
  }

  private void send(HttpExchange exchange, byte[] content) throws IOException {
    if (exchange.getRequestMethod().equals("HEAD")) {
      exchange.getResponseHeaders().add("Content-Length", String.valueOf(content.length));
      exchange.sendResponseHeaders(200, -1);
      return;
    }
    byte[] sent = content.clone();
    if (corrupts) {
      sent[sent.length / 2] ^= 1;
    }
    String range = exchange.getRequestHeaders().getFirst("Range");
    int from = range == null || ignoresRanges ? 0 : Integer.parseInt(range.replaceAll("\\D", ""));
    if (from >= sent.length) {
      exchange.sendResponseHeaders(416, -1);
      return;
    }
    if (from > 0) {
      exchange
          .getResponseHeaders()
          .add("Content-Range", "bytes %d-%d/%d".formatted(from, sent.length - 1, sent.length));
    }
    exchange.sendResponseHeaders(from > 0 ? 206 : 200, sent.length - from);
    OutputStream body = exchange.getResponseBody();
    Integer cut = exchange.getRequestURI().getPath().endsWith(".safetensors") ? cuts.poll() : null;
    if (cut == null) {
      body.write(sent, from, sent.length - from);
      return;
    }
    body.write(Arrays.copyOfRange(sent, from, from + cut));
    body.flush();
    if (stalls) {
      try {
        Thread.sleep(60_000);
      } catch (InterruptedException _) {
        // the test is over
      }
    }
    throw new IOException("cut");
  }

  @Override
  public void close() {
    threads.shutdownNow();
    hub.stop(0);
    cdn.stop(0);
  }
}
