package espalier.checkpoints;

import java.io.IOException;
import java.net.ConnectException;
import java.net.UnknownHostException;
import java.net.http.HttpTimeoutException;
import java.nio.channels.UnresolvedAddressException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Gets what is wanted of a repository: out of the cache where it is there, else file by file over
 * the network.
 */
final class HubSnapshot {

  private final HubSettings settings;
  private final String repo;
  private final String revision;
  private final String source;
  private final HubContents contents;
  private final HubCache cache;

  /**
   * @param revision a branch, a tag or a commit; null for {@code main}
   * @param source how the user names it
   */
  HubSnapshot(
      HubSettings settings,
      String repo,
      @Nullable String revision,
      String source,
      HubContents contents) {
    this.settings = settings;
    this.repo = repo;
    this.revision = revision == null ? "main" : revision;
    this.source = source;
    this.contents = contents;
    cache = new HubCache(settings, repo);
  }

  /** The folder of the snapshot, with all that is wanted in it. */
  Path fetch(Consumer<String> progressLine) {
    Path cached = cached();
    if (cached != null && (settings.offline() || HubCache.isCommit(revision))) {
      return cached;
    }
    if (settings.offline()) {
      throw new CheckpointException(
          ("%s is not whole in the cache %s, and HF_HUB_OFFLINE forbids to fetch it;"
                  + " unset that, or copy the cache from a machine that has it")
              .formatted(source, settings.cache()));
    }
    try (var client = new HubClient(settings, repo)) {
      HubListing listing;
      try {
        listing = client.list(revision);
      } catch (IOException e) {
        return fallback(cached, e, progressLine);
      }
      download(client, listing, progressLine);
      cache.remember(revision, listing.commit());
      return cache.snapshot(listing.commit());
    }
  }

  private Path fallback(@Nullable Path cached, IOException e, Consumer<String> progressLine) {
    String trouble = "%s was not reached (%s)".formatted(settings.endpoint(), sentence(e));
    if (cached == null) {
      throw new CheckpointException(
          ("%s: %s and the cache %s does not have the %s; look at your network, name a"
                  + " mirror in HF_ENDPOINT or a proxy in HTTPS_PROXY")
              .formatted(source, trouble, settings.cache(), contents.noun()),
          e);
    }
    progressLine.accept(
        "%s; using the copy of %s in the cache".formatted(trouble, cached.getFileName()));
    return cached;
  }

  private void download(HubClient client, HubListing listing, Consumer<String> progressLine) {
    for (String name : contents.companions(listing.names())) {
      download(client, name, listing.commit(), progressLine);
    }
    // Weights last: a snapshot that has them is whole.
    for (String name : contents.weights(listing.names(), cache.snapshot(listing.commit()))) {
      download(client, name, listing.commit(), progressLine);
    }
  }

  private void download(
      HubClient client, String name, String commit, Consumer<String> progressLine) {
    if (Files.exists(cache.pointer(commit, name))) {
      return;
    }
    HubFile file = describe(client, name, commit);
    FileLocks.hold(
        cache.lock(file),
        () -> progressLine.accept(name + ": another process is fetching it, waiting"),
        () -> {
          boolean fresh =
              !Files.exists(cache.blob(file)) && !Files.exists(cache.pointer(commit, name));
          if (fresh) {
            progressLine.accept(
                "fetching %s of %s%s"
                    .formatted(
                        name, source, file.size() < 0 ? "" : ", " + Bytes.text(file.size())));
            new HubTransfer(client, settings, file, commit, cache.blob(file), progressLine).run();
          }
          cache.show(file, commit, fresh);
        });
  }

  private HubFile describe(HubClient client, String name, String commit) {
    var retries = new Retries(settings.pause());
    try {
      while (true) {
        try {
          return client.describe(name, commit);
        } catch (IOException e) {
          retries.after(e);
        }
      }
    } catch (IOException e) {
      throw new CheckpointException(
          ("%s of %s: %s was not reached (%s); what has come is kept, the same command"
                  + " goes on from there")
              .formatted(name, source, settings.endpoint(), sentence(e)),
          e);
    }
  }

  /** The snapshot in the cache, if it is whole; asks no network. */
  @Nullable Path cached() {
    String commit = cache.commit(revision);
    if (commit == null) {
      return null;
    }
    Path snapshot = cache.snapshot(commit);
    return contents.isWhole(snapshot) ? snapshot : null;
  }

  /** The JDK's network errors often have no message, or none that tells a user anything. */
  static String sentence(IOException e) {
    return switch (e) {
      case UnknownHostException _ -> "the host's name is not known";
      case ConnectException c when c.getCause() instanceof UnresolvedAddressException ->
          "the host's name is not known";
      case ConnectException _ -> "no connection";
      case HttpTimeoutException _ -> "no answer in time";
      default -> e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
    };
  }
}
