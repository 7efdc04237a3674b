package espalier.checkpoints;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/** Adapters that are on this machine already. */
final class LocalAdapter {

  private LocalAdapter() {}

  static Path folder(Path path, Map<String, String> environment) {
    if (Files.isDirectory(path)) {
      return path;
    }
    if (Files.exists(path)) {
      PickleRefusal.checkFile(path);
      throw CheckpointException.in(
          path, "this is a file, and an adapter is a folder; name the folder it lies in");
    }
    AdapterSource.Hub hub = AdapterName.onHub(path);
    if (hub == null) {
      throw CheckpointException.in(
          path,
          "there is no such folder; check the path, or name one of the hub as"
              + " hub:org/name[/sub/folder][@revision]");
    }
    // A mistyped path is nobody else's business, so only hub: goes over the network.
    var wanted = new HubAdapter(hub.toString(), hub.subfolder());
    var settings = HubSettings.of(environment);
    Path cached =
        new HubSnapshot(settings, hub.repo(), hub.revision(), hub.toString(), wanted).cached();
    if (cached == null) {
      throw CheckpointException.in(
          path,
          ("there is no such folder, and the hub's cache %s has no adapter of that name; check"
                  + " the path, or fetch it from the hub as %s")
              .formatted(settings.cache(), hub));
    }
    return wanted.in(cached);
  }
}
