package espalier.checkpoints;

import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

/**
 * Sends requests to the hub. Redirects are followed by hand: the hub passes large files on to other
 * hosts, and the token is for the hub alone.
 */
final class HubHttp implements AutoCloseable {

  private static final int MAX_REDIRECTS = 10;

  private final HubSettings settings;
  private final HttpClient client;

  HubHttp(HubSettings settings) {
    this.settings = settings;
    client =
        HttpClient.newBuilder()
            .version(HttpClient.Version.HTTP_1_1) // one file after another gains nothing from 2
            .followRedirects(HttpClient.Redirect.NEVER)
            .connectTimeout(Duration.ofSeconds(10))
            .proxy(new EnvironmentProxy(settings.environment()))
            .build();
  }

  /** Asks for a file from byte {@code from} on. The caller closes the body. */
  HttpResponse<InputStream> get(URI uri, long from) throws IOException {
    return send("GET", uri, from);
  }

  /**
   * Asks what the hub knows of a file. A redirect to another host is not followed: the hub's own
   * answer has what matters.
   */
  HttpResponse<InputStream> head(URI uri) throws IOException {
    return send("HEAD", uri, 0);
  }

  private HttpResponse<InputStream> send(String method, URI uri, long from) throws IOException {
    URI at = uri;
    for (int hop = 0; hop <= MAX_REDIRECTS; hop++) {
      HttpResponse<InputStream> response = once(method, at, from);
      if (response.statusCode() / 100 != 3 || response.statusCode() == 304) {
        return response;
      }
      URI next = target(at, response);
      boolean answered = response.headers().firstValue("X-Linked-Etag").isPresent();
      if (method.equals("HEAD") && (answered || !isHub(next))) {
        return response;
      }
      response.body().close();
      if ("https".equals(at.getScheme()) && !"https".equals(next.getScheme())) {
        throw new CheckpointException(
            ("%s passes the request on to %s, which is not encrypted; this is refused,"
                    + " look at your network or at HF_ENDPOINT")
                .formatted(at, next));
      }
      at = next;
    }
    throw new CheckpointException(
        "%s was passed on %d times; look at your network or at HF_ENDPOINT"
            .formatted(uri, MAX_REDIRECTS));
  }

  private static URI target(URI at, HttpResponse<?> response) {
    String location =
        response
            .headers()
            .firstValue("Location")
            .orElseThrow(
                () ->
                    new CheckpointException(at + " passes the request on but does not say where"));
    try {
      URI next = at.resolve(location);
      if (next.getHost() != null) {
        return next;
      }
    } catch (IllegalArgumentException _) {
      // reported as an address without a host is
    }
    throw new CheckpointException(
        "%s passes the request on to '%s', no address".formatted(at, location));
  }

  private HttpResponse<InputStream> once(String method, URI uri, long from) throws IOException {
    var request =
        HttpRequest.newBuilder(uri)
            .method(method, HttpRequest.BodyPublishers.noBody())
            .timeout(settings.timeout())
            .header("User-Agent", "espalier")
            .header("Accept-Encoding", "identity"); // sizes and ranges are of the file itself
    if (settings.token() != null && isHub(uri)) {
      request.header("Authorization", "Bearer " + settings.token());
    }
    if (from > 0) {
      request.header("Range", "bytes=" + from + "-");
    }
    try {
      return client.send(request.build(), BodyHandlers.ofInputStream());
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
      throw new CheckpointException("fetching %s was interrupted".formatted(uri), e);
    }
  }

  private boolean isHub(URI uri) {
    URI hub = settings.endpoint();
    return hub.getScheme().equals(uri.getScheme())
        && hub.getHost().equalsIgnoreCase(uri.getHost())
        && hub.getPort() == uri.getPort();
  }

  @Override
  public void close() {
    client.shutdownNow(); // close() would wait for connections that are kept for reuse
  }
}
