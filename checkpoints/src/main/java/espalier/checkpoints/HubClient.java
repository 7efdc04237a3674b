package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;

/** One repository of the hub: what it holds, and the bytes of its files. */
final class HubClient implements AutoCloseable {

  private static final int MAX_LISTING = 64_000_000;

  private final HubSettings settings;
  private final String repo;
  private final HubHttp http;

  HubClient(HubSettings settings, String repo) {
    this.settings = settings;
    this.repo = repo;
    http = new HubHttp(settings);
  }

  /**
   * Lists the files of a revision.
   *
   * @throws IOException if the hub is not reached or out of order
   */
  HubListing list(String revision) throws IOException {
    URI uri = uri("/api/models/" + repo + "/revision/" + encoded(revision));
    var retries = new Retries(settings.pause());
    while (true) {
      try {
        HttpResponse<InputStream> response = http.get(uri, 0);
        try (InputStream body = response.body()) {
          new HubAnswer(settings, repo, revision).check(response, "the revision " + revision);
          return listing(body.readNBytes(MAX_LISTING));
        }
      } catch (HubUnavailable e) {
        retries.after(e);
      }
    }
  }

  private HubListing listing(byte[] body) {
    try {
      JsonNode json = StrictJson.MAPPER.readTree(body);
      String commit = json.path("sha").asString("");
      if (!isStorable(commit)) {
        throw unexpected("its list of files names no commit");
      }
      var names = new ArrayList<String>();
      for (JsonNode sibling : json.path("siblings")) {
        String name = sibling.path("rfilename").asString("");
        if (!PlainName.isPath(name)) {
          throw unexpected(
              "it lists a file '%s', which would lie outside of the folder".formatted(name));
        }
        names.add(name);
      }
      return new HubListing(commit, names);
    } catch (JacksonException e) {
      throw unexpected("its list of files is not valid JSON: " + e.getOriginalMessage());
    }
  }

  /**
   * Asks for a file's size and etag.
   *
   * @throws IOException if the hub is not reached or out of order
   */
  HubFile describe(String name, String commit) throws IOException {
    HttpResponse<InputStream> response = http.head(uri(commit, name));
    response.body().close();
    new HubAnswer(settings, repo, commit).check(response, name);
    var headers = response.headers();
    String etag =
        headers
            .firstValue("X-Linked-Etag")
            .or(() -> headers.firstValue("ETag"))
            .orElse("")
            .replaceFirst("^W/", "")
            .replace("\"", "");
    if (!isStorable(etag)) {
      throw unexpected("it gives no usable ETag for " + name);
    }
    long size =
        headers
            .firstValueAsLong("X-Linked-Size")
            .orElseGet(
                () ->
                    response.statusCode() / 100 == 2
                        ? headers.firstValueAsLong("Content-Length").orElse(-1)
                        : -1);
    return new HubFile(name, etag, size);
  }

  /**
   * Begins to read a file from byte {@code from} on; status 200 means from the beginning, 206 from
   * there, 416 that the file is not that long. The caller closes the body.
   */
  HttpResponse<InputStream> read(String name, String commit, long from) throws IOException {
    HttpResponse<InputStream> response = http.get(uri(commit, name), from);
    if (response.statusCode() != 416) {
      try {
        new HubAnswer(settings, repo, commit).check(response, name);
      } catch (IOException | CheckpointException e) {
        response.body().close();
        throw e;
      }
    }
    return response;
  }

  private URI uri(String commit, String name) {
    String path =
        Stream.of(name.split("/")).map(HubClient::encoded).collect(Collectors.joining("/"));
    return uri("/" + repo + "/resolve/" + encoded(commit) + "/" + path);
  }

  private URI uri(String path) {
    return URI.create(settings.endpoint() + path);
  }

  private static String encoded(String part) {
    return URLEncoder.encode(part, UTF_8).replace("+", "%20");
  }

  /** Commits and etags become names of files. */
  private static boolean isStorable(String name) {
    return name.matches("[A-Za-z0-9][A-Za-z0-9._-]{0,199}");
  }

  private CheckpointException unexpected(String problem) {
    return new CheckpointException(
        "hub:%s: %s does not behave like a hub: %s; look at HF_ENDPOINT and at your network"
            .formatted(repo, settings.endpoint(), problem));
  }

  @Override
  public void close() {
    http.close();
  }
}
