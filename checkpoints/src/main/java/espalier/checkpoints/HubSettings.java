package espalier.checkpoints;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * How the hub is reached and where its files are kept: the environment variables of Hugging Face's
 * own tools, read as they read them.
 *
 * @param endpoint scheme, host and port, perhaps a path; no slash at the end
 * @param cache the folder that holds {@code models--org--name}
 * @param token sent to the endpoint and to no other host
 * @param symlinks whether snapshots may link to blobs
 * @param timeout how long the server may stay silent
 * @param pause before the second attempt; doubled before each further one
 * @param environment for the proxy
 */
record HubSettings(
    URI endpoint,
    Path cache,
    @Nullable String token,
    boolean offline,
    boolean symlinks,
    Duration timeout,
    Duration pause,
    Map<String, String> environment) {

  static HubSettings of(Map<String, String> environment) {
    var user = new UserFolders(environment);
    Path home = user.folder("HF_HOME");
    if (home == null) {
      home = user.caches().resolve("huggingface");
    }
    Path cache = user.folder("HF_HUB_CACHE");
    if (cache == null) {
      cache = user.folder("HUGGINGFACE_HUB_CACHE");
    }
    return new HubSettings(
        endpoint(user.value("HF_ENDPOINT")),
        cache == null ? home.resolve("hub") : cache,
        token(user, home),
        user.says("HF_HUB_OFFLINE") || user.says("TRANSFORMERS_OFFLINE"),
        !user.says("HF_HUB_DISABLE_SYMLINKS"),
        timeout(user.value("HF_HUB_DOWNLOAD_TIMEOUT")),
        Duration.ofSeconds(1),
        environment);
  }

  /** The same with other times, for tests. */
  HubSettings withTimes(Duration timeout, Duration pause) {
    return new HubSettings(endpoint, cache, token, offline, symlinks, timeout, pause, environment);
  }

  private static URI endpoint(@Nullable String value) {
    if (value == null) {
      return URI.create("https://huggingface.co");
    }
    try {
      URI uri = URI.create(value.replaceAll("/+$", ""));
      if (uri.getHost() != null
          && ("https".equals(uri.getScheme()) || "http".equals(uri.getScheme()))) {
        return uri;
      }
    } catch (IllegalArgumentException _) {
      // the same answer as to an address without a host
    }
    throw new CheckpointException(
        "HF_ENDPOINT is '%s' but must be an address such as https://hub.example.com"
            .formatted(value));
  }

  private static @Nullable String token(UserFolders user, Path home) {
    String token = user.value("HF_TOKEN");
    if (token == null) {
      token = user.value("HUGGING_FACE_HUB_TOKEN");
    }
    String from = "HF_TOKEN";
    if (token == null && !user.says("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
      Path file = user.folder("HF_TOKEN_PATH");
      file = file == null ? home.resolve("token") : file;
      from = file.toString();
      try {
        token = Files.exists(file) ? Files.readString(file).strip() : null;
      } catch (IOException e) {
        throw CannotRead.of(file, e);
      }
    }
    if (token == null || token.isEmpty()) {
      return null;
    }
    if (!token.matches("[!-~]+")) { // and is not repeated here: it is a secret
      throw new CheckpointException(
          "the token in %s has spaces or letters that no token has; copy it again".formatted(from));
    }
    return token;
  }

  private static Duration timeout(@Nullable String value) {
    try {
      return Duration.ofSeconds(value == null ? 30 : Math.max(1, Long.parseLong(value)));
    } catch (NumberFormatException e) {
      throw new CheckpointException(
          "HF_HUB_DOWNLOAD_TIMEOUT is '%s' but must be a number of seconds".formatted(value), e);
    }
  }
}
