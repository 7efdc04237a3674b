package espalier.checkpoints;

import java.nio.file.Path;
import java.util.Map;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * What a user names as an adapter, and how it becomes a folder of this machine.
 *
 * <pre>{@code
 * AdapterSource source = AdapterSource.parse("hub:org/adapters/french@v2");
 * model.loadAdapter(source.name(), source.resolve(System.err::println));
 * }</pre>
 */
public sealed interface AdapterSource {

  /**
   * A folder as PEFT writes it; or, where there is none of that path, what the hub's cache has
   * under it as {@code org/name[/sub/folder][@revision]}. No network is asked.
   */
  record Folder(Path path) implements AdapterSource {
    @Override
    public String toString() {
      return path.toString();
    }
  }

  /**
   * A folder in a repository of the Hugging Face hub, or of a mirror of it.
   *
   * @param repo {@code org/name}
   * @param subfolder path of the adapter's folder in the repository; null for the top folder
   * @param revision a branch, a tag or a commit; null for {@code main}
   */
  record Hub(String repo, @Nullable String subfolder, @Nullable String revision)
      implements AdapterSource {

    public Hub {
      var _ = new ModelSource.Hub(repo, revision); // refuses what no repository is called
      if (subfolder != null && !PlainName.isPath(subfolder)) {
        throw new IllegalArgumentException(
            "'%s' is no folder in %s; write hub:org/name/sub/folder".formatted(subfolder, repo));
      }
    }

    @Override
    public String toString() {
      return "hub:"
          + repo
          + (subfolder == null ? "" : "/" + subfolder)
          + (revision == null ? "" : "@" + revision);
    }
  }

  /** A folder inside a Python package. */
  record Pip(ModelSource.Pip folder) implements AdapterSource {
    @Override
    public String toString() {
      return folder.toString();
    }
  }

  /**
   * Reads what a user wrote: {@code hub:org/name[/sub/folder][@revision]}, {@code
   * pip:package==version/path}, or any other path, which is a folder. Looks at no file and no
   * network.
   *
   * @throws IllegalArgumentException if it is none of these
   */
  static AdapterSource parse(String name) {
    return AdapterName.parse(name);
  }

  /**
   * The adapter's folder on this machine; fetched first where it is of the hub and not there. The
   * environment is honoured as for {@link ModelSource#resolve(Consumer) models}.
   *
   * @param progressLine told, line by line, what is fetched; on this thread
   * @throws CheckpointException if it is not there or cannot be had, with the way to mend it
   */
  default Path resolve(Consumer<String> progressLine) {
    return resolve(System.getenv(), progressLine);
  }

  /** The same with another environment, for programs that do not want to depend on theirs. */
  default Path resolve(Map<String, String> environment, Consumer<String> progressLine) {
    return switch (this) {
      case Folder(var path) -> LocalAdapter.folder(path, environment);
      case Hub hub -> {
        var wanted = new HubAdapter(hub.toString(), hub.subfolder());
        var settings = HubSettings.of(environment);
        yield wanted.in(
            new HubSnapshot(settings, hub.repo(), hub.revision(), hub.toString(), wanted)
                .fetch(progressLine));
      }
      case Pip(var folder) -> folder.resolve(environment, progressLine);
    };
  }

  /** What to call the adapter where no name was given: that of its folder, without dots. */
  default String name() {
    String last =
        switch (this) {
          case Folder(var path) -> String.valueOf(path.toAbsolutePath().normalize().getFileName());
          case Hub(var repo, var subfolder, var _) -> subfolder == null ? repo : subfolder;
          case Pip(var folder) -> folder.inside();
        };
    // A dot would part the keys of its tensors.
    String name = last.substring(last.lastIndexOf('/') + 1).replace('.', '_');
    return name.isEmpty() || name.equals("null") ? AdapterFiles.DEFAULT : name;
  }
}
