package espalier.checkpoints;

import espalier.adapters.AdapterContents;
import espalier.adapters.ConfigException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.MutatedStart;
import espalier.nn.Scope;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Makes an adapter folder of PiSSA, OLoRA, CorDA or LoRA-GA one of plain LoRA, without a model. */
public final class StartConversion {

  private StartConversion() {}

  /**
   * Subtracts the initial factors of an adapter from its trained ones.
   *
   * @param trained the adapter's folder
   * @param initial a folder with the factors as they were before training; its config, if there is
   *     one, must say {@code true} for {@code init_lora_weights}
   * @param out where the plain adapter is written
   * @return warnings
   * @throws ConfigException if the settings can not be converted
   * @throws CheckpointException if a file is missing or broken
   */
  public static List<String> run(Path trained, Path initial, Path out, AdapterCatalog catalog) {
    AdapterCatalog.Read read = AdapterFiles.readConfig(trained, catalog);
    LoraConfig config = lora(read, trained);
    if (Files.exists(initial.resolve(AdapterFiles.CONFIG))) {
      MutatedStart.requireInitial(lora(AdapterFiles.readConfig(initial, catalog), initial));
    }
    var warnings = new ArrayList<>(read.warnings());
    warnings.addAll(MutatedStart.warnings(config));
    try (TensorFile after = TensorFile.open(trained);
        TensorFile before = TensorFile.open(initial);
        var _ = Scope.open()) {
      AdapterContents plain = MutatedStart.subtract(config, after.tensors(), before.tensors());
      AdapterFiles.write(plain, out, catalog);
    }
    return List.copyOf(warnings);
  }

  private static LoraConfig lora(AdapterCatalog.Read read, Path folder) {
    if (read.config() instanceof LoraConfig config) {
      return config;
    }
    throw new ConfigException(
        "%s is %s but only LORA has starts that can be subtracted"
            .formatted(folder, read.config().peftType()));
  }
}
