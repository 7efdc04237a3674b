package espalier.checkpoints;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * An adapter of a repository, in its top folder or in one below.
 *
 * @param source how the user names it
 * @param subfolder path of the adapter's folder in the repository; null for the top folder
 */
record HubAdapter(String source, @Nullable String subfolder) implements HubContents {

  private static final Set<String> TOKENS =
      Set.of(
          "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt");

  private static final int SHOWN = 5;

  @Override
  public String noun() {
    return "adapter";
  }

  /** The adapter's folder in a snapshot. */
  Path in(Path snapshot) {
    return subfolder == null ? snapshot : snapshot.resolve(subfolder);
  }

  private String path(String name) {
    return subfolder == null ? name : subfolder + "/" + name;
  }

  /** Paths in the repository of the files in the adapter's folder, by those of all. */
  private List<String> own(List<String> names) {
    String prefix = path("");
    return names.stream()
        .filter(name -> name.startsWith(prefix) && name.indexOf('/', prefix.length()) < 0)
        .toList();
  }

  @Override
  public List<String> companions(List<String> names) {
    if (!names.contains(path(AdapterFiles.CONFIG))) {
      throw new CheckpointException(
          "%s: %s, so it is no adapter; %s".formatted(source, missing(), elsewhere(names)));
    }
    return own(names).stream().filter(name -> isCompanion(last(name))).sorted().toList();
  }

  private String missing() {
    return subfolder == null
        ? "the repository has no %s in its top folder".formatted(AdapterFiles.CONFIG)
        : "the repository has no %s in %s".formatted(AdapterFiles.CONFIG, subfolder);
  }

  private static String elsewhere(List<String> names) {
    List<String> folders =
        names.stream()
            .filter(name -> last(name).equals(AdapterFiles.CONFIG))
            .map(HubAdapter::folder)
            .sorted()
            .toList();
    if (folders.isEmpty()) {
      return "name another repository or revision";
    }
    List<String> shown = folders.subList(0, Math.min(SHOWN, folders.size()));
    return "there are adapters in %s%s; name one of these"
        .formatted(
            String.join(", ", shown),
            folders.size() > SHOWN ? " and %d more".formatted(folders.size() - SHOWN) : "");
  }

  private static String folder(String name) {
    int slash = name.lastIndexOf('/');
    return slash < 0 ? "the top folder" : name.substring(0, slash);
  }

  private static String last(String name) {
    return name.substring(name.lastIndexOf('/') + 1);
  }

  private static boolean isCompanion(String name) {
    return name.equals(AdapterFiles.CONFIG)
        || name.equals(Sidecar.FILE)
        || TOKENS.contains(name)
        || ((name.startsWith("tokenizer") || name.startsWith("chat_template"))
            && !name.endsWith(".safetensors"));
  }

  @Override
  public List<String> weights(List<String> names, Path snapshot) {
    String tensors = path(AdapterFiles.TENSORS);
    if (!names.contains(tensors)) {
      PickleRefusal.check(source, own(names).stream().map(HubAdapter::last).toList());
      throw new CheckpointException(
          "%s: the repository has no %s, so there are no tensors to read; name another revision"
              .formatted(source, tensors));
    }
    String first = path(AdapterFiles.INITIAL + "/" + AdapterFiles.TENSORS);
    return names.contains(first) ? List.of(first, tensors) : List.of(tensors);
  }

  @Override
  public boolean isWhole(Path snapshot) {
    Path folder = in(snapshot);
    return Files.exists(folder.resolve(AdapterFiles.CONFIG))
        && Files.exists(folder.resolve(AdapterFiles.TENSORS));
  }
}
