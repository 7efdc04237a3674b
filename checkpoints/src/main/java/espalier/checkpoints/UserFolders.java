package espalier.checkpoints;

import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Where things of this user are kept, by the environment's word. */
record UserFolders(Map<String, String> environment) {

  /** The variable's value, or null if it is not set or blank. */
  @Nullable String value(String variable) {
    String value = environment.get(variable);
    return value == null || value.isBlank() ? null : value.strip();
  }

  /** The folder that the variable names, {@code ~} being the home folder, or null. */
  @Nullable Path folder(String variable) {
    String value = value(variable);
    if (value == null) {
      return null;
    }
    return value.equals("~") || value.startsWith("~/")
        ? home().resolve(value.substring(Math.min(2, value.length())))
        : Path.of(value).toAbsolutePath();
  }

  Path home() {
    String home = value("HOME");
    return Path.of(home != null ? home : System.getProperty("user.home")).toAbsolutePath();
  }

  /** Where caches go. */
  Path caches() {
    Path xdg = folder("XDG_CACHE_HOME");
    return xdg != null ? xdg : home().resolve(".cache");
  }

  /** Whether the variable says yes, as Hugging Face's tools read it. */
  boolean says(String variable) {
    String value = value(variable);
    return value != null && value.toUpperCase(Locale.ROOT).matches("1|ON|YES|TRUE");
  }
}
