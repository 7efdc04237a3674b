package espalier.checkpoints;

import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** Reads the name of an adapter as users write it. */
final class AdapterName {

  /** {@code org/name[/sub/folder][@revision]}. */
  private static final Pattern IN_REPOSITORY =
      Pattern.compile("(?<repo>[^/@]+/[^/@]+)(?:/(?<subfolder>[^@]+))?(?:@(?<revision>.+))?");

  private static final String FORMS =
      "write a folder, hub:org/name[/sub/folder][@revision] or pip:package==version/path";

  private AdapterName() {}

  static AdapterSource parse(String name) {
    if (name.isBlank()) {
      throw new IllegalArgumentException("the adapter's name is empty; " + FORMS);
    }
    if (name.startsWith("hub:")) {
      return hub(name.substring("hub:".length()));
    }
    if (name.startsWith("pip:")) {
      return new AdapterSource.Pip((ModelSource.Pip) ModelName.parse(name));
    }
    ModelName.refuseOtherScheme(
        name, "the hub's adapters are hub:org/name[/sub/folder][@revision]");
    try {
      return new AdapterSource.Folder(Path.of(name));
    } catch (InvalidPathException e) {
      throw new IllegalArgumentException(
          "'%s' is no path: %s; %s".formatted(name, e.getReason(), FORMS), e);
    }
  }

  private static AdapterSource.Hub hub(String rest) {
    Matcher parts = IN_REPOSITORY.matcher(rest);
    if (!parts.matches()) {
      throw new IllegalArgumentException(
          ("'hub:%s' is not the name of an adapter in a repository; write"
                  + " hub:org/name[/sub/folder][@revision]")
              .formatted(rest));
    }
    return new AdapterSource.Hub(
        parts.group("repo"), parts.group("subfolder"), parts.group("revision"));
  }

  /** What a path would be on the hub, or null if nothing there can be called so. */
  static AdapterSource.@Nullable Hub onHub(Path path) {
    if (path.isAbsolute()) {
      return null;
    }
    try {
      return hub(path.toString().replace('\\', '/'));
    } catch (IllegalArgumentException _) {
      return null;
    }
  }
}
