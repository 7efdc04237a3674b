package espalier.checkpoints;

import espalier.adapters.AdapterConfig;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * A short {@code README.md} beside saved adapters, in the form that model hubs read. One that is
 * there already, such as that of a training run, stays.
 */
final class AdapterCard {

  private AdapterCard() {}

  static void write(Path folder, Map<String, AdapterConfig> adapters) {
    Path file = folder.resolve("README.md");
    if (adapters.isEmpty() || Files.exists(file)) {
      return;
    }
    String base =
        adapters.values().stream()
            .map(config -> config.head().baseModel())
            .filter(name -> name != null && !name.isBlank())
            .findFirst()
            .orElse("");
    String front = base.isEmpty() ? "" : "base_model: \"%s\"%n".formatted(base.replace("\"", ""));
    String rows =
        adapters.entrySet().stream()
            .map(e -> "| %s | %s |%n".formatted(e.getKey(), e.getValue().peftType()))
            .collect(Collectors.joining());
    AtomicFiles.write(
        file,
        """
        ---
        %slibrary_name: peft
        ---
        # Adapters%s

        | adapter | method |
        |---|---|
        %s\
        """
            .formatted(front, base.isEmpty() ? "" : " of " + base, rows)
            .replace("\r\n", "\n"));
  }
}
