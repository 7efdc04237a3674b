package espalier.checkpoints;

import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.Locale;
import java.util.regex.Pattern;

/** Reads the name of a model as users write it. */
final class ModelName {

  private static final Pattern SCHEME = Pattern.compile("([A-Za-z][A-Za-z0-9+.-]+):.*");

  private ModelName() {}

  static ModelSource parse(String name) {
    if (name.isBlank()) {
      throw new IllegalArgumentException(
          "the model's name is empty; write a folder, FILE.gguf, hub:org/name or"
              + " pip:package==version/path");
    }
    if (name.startsWith("hub:")) {
      return hub(name.substring("hub:".length()));
    }
    if (name.startsWith("pip:")) {
      return pip(name.substring("pip:".length()));
    }
    refuseOtherScheme(name, "the hub's models are hub:org/name[@revision]");
    Path path;
    try {
      path = Path.of(name);
    } catch (InvalidPathException e) {
      throw new IllegalArgumentException(
          ("'%s' is no path: %s; write a folder, FILE.gguf, hub:org/name or"
                  + " pip:package==version/path")
              .formatted(name, e.getReason()),
          e);
    }
    return name.toLowerCase(Locale.ROOT).endsWith(".gguf")
        ? new ModelSource.GgufFile(path)
        : new ModelSource.Folder(path);
  }

  private static ModelSource hub(String rest) {
    int at = rest.indexOf('@');
    return at < 0
        ? new ModelSource.Hub(rest, null)
        : new ModelSource.Hub(rest.substring(0, at), rest.substring(at + 1));
  }

  private static ModelSource pip(String rest) {
    int slash = rest.indexOf('/');
    if (slash < 0) {
      throw new IllegalArgumentException(
          ("'pip:%s' does not say which file of the package is meant; write"
                  + " pip:package==1.2.3/path/inside")
              .formatted(rest));
    }
    return new ModelSource.Pip(rest.substring(0, slash), rest.substring(slash + 1));
  }

  /**
   * Refuses addresses and prefixes that are none of ours.
   *
   * @param ofHub what names of the hub look like
   */
  static void refuseOtherScheme(String name, String ofHub) {
    var scheme = SCHEME.matcher(name); // of two letters and more, so C:\models stays a path
    if (!scheme.matches()) {
      return;
    }
    String hint =
        switch (scheme.group(1).toLowerCase(Locale.ROOT)) {
          case "hf", "huggingface" -> ofHub;
          case "http", "https" -> "addresses are not read; " + ofHub + ", or download the file";
          case "file" -> "write the path alone";
          default -> "known are hub: and pip:; write ./ before a folder of that name";
        };
    throw new IllegalArgumentException(
        "'%s' begins with %s: but %s".formatted(name, scheme.group(1), hint));
  }
}
