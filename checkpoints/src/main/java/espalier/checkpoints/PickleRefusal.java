package espalier.checkpoints;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;

/**
 * Refuses PyTorch's pickle files, and says how to convert them. Loading a pickle runs whatever code
 * its author put in; no reader can tell a harmless one for sure.
 */
public final class PickleRefusal {

  /** How a file whose name is not known is converted. */
  static final String CONVERT =
      "convert it to safetensors in Python (torch.load with weights_only=True, then"
          + " safetensors.torch.save_file)";

  private static final List<String> ENDINGS = List.of(".bin", ".pt", ".pth", ".ckpt", ".pkl");

  private PickleRefusal() {}

  /**
   * Refuses {@code file} if its name is that of a pickle; any other name passes.
   *
   * @throws CheckpointException with the way to convert it
   */
  public static void checkFile(Path file) {
    if (isPickle(file.getFileName().toString())) {
      throw refuse(file.toString(), List.of(file.getFileName().toString()));
    }
  }

  /**
   * Refuses {@code folder} if it has weights as pickles only; a folder with safetensors or GGUF
   * beside them, or with no weights at all, passes.
   *
   * @throws CheckpointException with the way to convert them
   */
  public static void checkFolder(Path folder) {
    try (Stream<Path> files = Files.list(folder)) {
      check(folder.toString(), files.map(file -> file.getFileName().toString()).toList());
    } catch (IOException e) {
      throw CannotRead.of(folder, e);
    }
  }

  /** Refuses {@code place} if its files called {@code names} hold weights as pickles only. */
  static void check(String place, Collection<String> names) {
    List<String> pickles =
        names.stream().filter(PickleRefusal::isWeights).filter(PickleRefusal::isPickle).toList();
    boolean readable =
        names.stream().anyMatch(name -> name.endsWith(".safetensors") || name.endsWith(".gguf"));
    if (!readable && !pickles.isEmpty()) {
      throw refuse(place, pickles);
    }
  }

  /** Trainers leave small pickles beside good weights, which nobody has to convert. */
  private static boolean isWeights(String name) {
    return !List.of("training_args.bin", "optimizer.pt", "scheduler.pt", "optimizer.bin")
            .contains(name)
        && !name.startsWith("rng_state");
  }

  private static boolean isPickle(String name) {
    String lower = name.toLowerCase(Locale.ROOT);
    return ENDINGS.stream().anyMatch(lower::endsWith);
  }

  private static CheckpointException refuse(String place, List<String> pickles) {
    List<String> sorted = pickles.stream().sorted().toList();
    String target =
        sorted.getFirst().startsWith("adapter_")
            ? "adapter_model.safetensors"
            : "model.safetensors";
    String files =
        sorted.stream().map(name -> "'" + name + "'").reduce((a, b) -> a + ", " + b).orElseThrow();
    return new CheckpointException(
        ("%s: the weights are a pickle (%s), and loading a pickle can run any code that is in it;"
             + " convert it once, in its folder, where PyTorch and safetensors are installed:"
             + " python3 -c \"import torch; from safetensors.torch import save_file; d = {};"
             + " [d.update(torch.load(f, map_location='cpu', weights_only=True)) for f in [%s]];"
             + " save_file({k: v.clone().contiguous() for k, v in d.get('state_dict', d).items()},"
             + " '%s', metadata={'format': 'pt'})\"")
            .formatted(place, String.join(", ", sorted), files, target));
  }
}
