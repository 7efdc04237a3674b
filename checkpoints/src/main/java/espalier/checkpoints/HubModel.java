package espalier.checkpoints;

import java.io.IOException;
import java.net.ConnectException;
import java.net.UnknownHostException;
import java.net.http.HttpTimeoutException;
import java.nio.channels.UnresolvedAddressException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Gets a model of the hub: out of the cache where it is there, else file by file over the network.
 */
final class HubModel {

  private final HubSettings settings;
  private final String repo;
  private final String revision;
  private final String source;
  private final HubCache cache;

  HubModel(HubSettings settings, String repo, String revision) {
    this.settings = settings;
    this.repo = repo;
    this.revision = revision;
    source = "hub:" + repo + (revision.equals("main") ? "" : "@" + revision);
    cache = new HubCache(settings, repo);
  }

  /** The folder of the snapshot, with all that belongs to the model in it. */
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
          ("%s: %s and the cache %s does not have the model; look at your network, name a"
                  + " mirror in HF_ENDPOINT or a proxy in HTTPS_PROXY")
              .formatted(source, trouble, settings.cache()),
          e);
    }
    progressLine.accept(
        "%s; using the copy of %s in the cache".formatted(trouble, cached.getFileName()));
    return cached;
  }

  private void download(HubClient client, HubListing listing, Consumer<String> progressLine) {
    for (String name : HubSelection.companions(listing.names())) {
      download(client, name, listing.commit(), progressLine);
    }
    // Weights last: a snapshot that has them is whole.
    for (String name : weights(listing)) {
      download(client, name, listing.commit(), progressLine);
    }
  }

  private List<String> weights(HubListing listing) {
    if (!HubSelection.hasIndex(listing.names())) {
      return HubSelection.weights(source, listing.names());
    }
    Path index = cache.pointer(listing.commit(), HubSelection.INDEX);
    List<String> shards = ShardIndex.read(index).values().stream().distinct().sorted().toList();
    for (String shard : shards) {
      if (!listing.names().contains(shard)) {
        throw new CheckpointException(
            ("%s: its index names the shard %s, which the repository does not have; name"
                    + " another revision")
                .formatted(source, shard));
      }
    }
    return shards;
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

  /** The snapshot in the cache, if it has the weights and so all else. */
  private @Nullable Path cached() {
    String commit = cache.commit(revision);
    if (commit == null) {
      return null;
    }
    Path snapshot = cache.snapshot(commit);
    Path index = snapshot.resolve(HubSelection.INDEX);
    if (Files.exists(snapshot.resolve(HubSelection.WHOLE))
        || Files.exists(snapshot.resolve(HubSelection.ADAPTER))) {
      return snapshot;
    }
    if (Files.exists(index)) {
      return ShardIndex.read(index).values().stream()
              .allMatch(shard -> Files.exists(snapshot.resolve(shard)))
          ? snapshot
          : null;
    }
    return hasOtherWeights(snapshot) ? snapshot : null;
  }

  private static boolean hasOtherWeights(Path snapshot) {
    if (!Files.isDirectory(snapshot)) {
      return false;
    }
    try (Stream<Path> files = Files.list(snapshot)) {
      return files.anyMatch(file -> file.toString().endsWith(".safetensors"));
    } catch (IOException e) {
      throw CannotRead.of(snapshot, e);
    }
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
