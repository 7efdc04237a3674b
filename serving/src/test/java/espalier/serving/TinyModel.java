package espalier.serving;

import espalier.checkpoints.SafetensorsFile;
import espalier.models.Families;
import espalier.models.Model;
import espalier.nn.Adaptable;
import espalier.nn.AdapterStack;
import espalier.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Consumer;

/** A model with random weights out of the parity module, and a tokenizer of its size. */
final class TinyModel implements AutoCloseable {

  private final SafetensorsFile file;
  private final Model model;
  private final Tokenizer tokenizer;

  TinyModel(String family) throws IOException {
    this(family, "");
  }

  /** One whose answers end with any of these tokens. */
  TinyModel(String family, List<Integer> ends) throws IOException {
    this(family, "\"eos_token_id\": " + ends);
  }

  private TinyModel(String family, String ends) throws IOException {
    Path folder = Path.of("..", "parity", "models", family);
    file = SafetensorsFile.open(folder.resolve("model.safetensors"));
    model =
        Families.build(
            Files.readString(folder.resolve("config.json"))
                .replaceFirst("\"eos_token_id\": \\d+", ends.isEmpty() ? "$0" : ends),
            key -> file.entries().containsKey(key) ? file.tensor(key) : null);
    tokenizer = TinyTokenizer.make();
  }

  Model model() {
    return model;
  }

  Tokenizer tokenizer() {
    return tokenizer;
  }

  Generator generator() {
    return Generator.of(model, tokenizer, _ -> {});
  }

  /** Puts a random adapter on every layer with a weight matrix; it is not active yet. */
  void attach(String name, long seed) {
    var random = new java.util.Random(seed);
    model
        .layers()
        .values()
        .forEach(
            layer -> {
              if (layer instanceof espalier.nn.Linear linear) {
                linear.adapters().attach(name, new LowRank(linear, random));
              }
            });
  }

  void activate(String... names) {
    stacks(stack -> stack.activate(List.of(names)));
  }

  void stacks(Consumer<AdapterStack> change) {
    model
        .layers()
        .values()
        .forEach(
            layer -> {
              if (layer instanceof Adaptable adaptable) {
                change.accept(adaptable.adapters());
              }
            });
  }

  @Override
  public void close() {
    tokenizer.close();
    model.close();
    file.close();
  }
}
