package espalier.checkpoints;

import java.io.IOException;
import java.net.http.HttpResponse;
import java.time.Duration;

/** Turns the hub's refusals into sentences. */
final class HubAnswer {

  /** No one waits longer for a program that seems to hang. */
  private static final Duration LONGEST_WAIT = Duration.ofMinutes(1);

  private final HubSettings settings;
  private final String repo;
  private final String revision;

  HubAnswer(HubSettings settings, String repo, String revision) {
    this.settings = settings;
    this.repo = repo;
    this.revision = revision;
  }

  /**
   * Returns if the answer is one of a success.
   *
   * @param what the file asked for, or the repository itself
   * @throws HubUnavailable if trying again may help
   * @throws CheckpointException if it will not
   */
  void check(HttpResponse<?> response, String what) throws IOException {
    int status = response.statusCode();
    if (status / 100 == 2 || status / 100 == 3) {
      return;
    }
    String hub = settings.endpoint().toString();
    String code = response.headers().firstValue("X-Error-Code").orElse("");
    if (status == 408 || status == 429 || status >= 500) {
      throw new HubUnavailable(
          "%s answers %d%s".formatted(hub, status, meaning(status)), retryAfter(response));
    }
    String hint =
        switch (status) {
          case 401 -> unknownOrPrivate();
          case 403 -> code.equals("GatedRepo") ? gated() : "the token may not read it; " + gated();
          case 404 ->
              code.equals("RevisionNotFound")
                  ? "there is no revision %s; look at %s/%s/tree/main for those there are"
                      .formatted(revision, hub, repo)
                  : code.equals("EntryNotFound")
                      ? "the repository has no such file"
                      : "there is no such repository or revision; check the name";
          case 407 -> "the proxy wants a password, which is not supported; ask for a way without";
          default -> "that was not expected; look at HF_ENDPOINT and at your network";
        };
    throw new CheckpointException(
        "hub:%s: %s answers %d for %s: %s".formatted(repo, hub, status, what, hint));
  }

  private String unknownOrPrivate() {
    return settings.token() == null
        ? "either there is no such repository, or it is private or gated and no token was sent;"
            + " check the name, or set HF_TOKEN to a token that may read it"
        : "either there is no such repository, or the token is not valid or may not read it; check"
            + " the name and the token (HF_TOKEN, or the file that hf auth login wrote)";
  }

  private String gated() {
    return ("access must be asked for: open %s/%s in a browser, agree to its terms, and set"
            + " HF_TOKEN to a token of that account")
        .formatted(settings.endpoint(), repo);
  }

  private static String meaning(int status) {
    return switch (status) {
      case 429 -> " (too many requests; with a token in HF_TOKEN more are allowed)";
      case 408 -> " (it waited too long)";
      default -> " (it is out of order)";
    };
  }

  private static Duration retryAfter(HttpResponse<?> response) {
    String value = response.headers().firstValue("Retry-After").orElse("0");
    long seconds = value.matches("\\d{1,6}") ? Long.parseLong(value) : 0;
    return seconds > LONGEST_WAIT.toSeconds() ? LONGEST_WAIT : Duration.ofSeconds(seconds);
  }
}
