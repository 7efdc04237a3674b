package espalier.recipes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.training.RunListener;
import espalier.training.StepMetrics;
import espalier.training.TrainingState;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The recipes of {@code examples/recipes}, one a method, on a tiny model. */
class EveryRecipeTest {

  private static final Path RECIPES = Path.of("../examples/recipes");
  private static final int STEPS = 6;

  @TempDir Path folder;

  static Stream<String> recipes() throws IOException {
    try (var files = Files.list(RECIPES)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList().stream();
    }
  }

  private Recipe recipe(String name, String output, String... more) {
    try {
      Path model = folder.resolve("model");
      if (!Files.exists(model)) {
        TinyChat.model(folder);
        TinyChat.data(folder, 30);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    String data = folder.resolve("data.jsonl").toString();
    var changes =
        new ArrayList<>(
            List.of(
                "model=" + folder.resolve("model"),
                "dtype=f32",
                "data.train=" + data,
                "data.eval=" + data,
                "data.max_length=64",
                "training.steps=" + STEPS,
                "training.warmup=2",
                "training.save_every=2",
                "training.threads=1",
                "output=" + folder.resolve(output)));
    changes.addAll(small(RECIPES.resolve(name)));
    changes.addAll(List.of(more));
    return RecipeFile.read(RECIPES.resolve(name), changes);
  }

  // The tiny model's layers are 16 to 64 wide, and its words are single bytes.
  private static List<String> small(Path recipe) {
    String text;
    try {
      text = Files.readString(recipe);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    var changes = new ArrayList<String>();
    if (text.contains("\n  r: ")) {
      changes.add("adapter.r=4");
    }
    if (text.contains("r1: ")) {
      changes.addAll(List.of("adapter.r1=2", "adapter.r2=2"));
    }
    if (text.contains("alora_invocation_tokens")) {
      changes.add("adapter.alora_invocation_tokens=[3]");
    }
    if (text.contains("velora_config")) {
      changes.add("adapter.velora_config.num_groups=8");
    }
    if (text.contains("qalora_group_size")) {
      changes.add("adapter.qalora_group_size=8");
    }
    return changes;
  }

  private static TrainingState train(Recipe recipe, RunListener listener, boolean resume) {
    try (var run = TrainingRun.open(recipe, listener, _ -> {})) {
      return run.train(resume);
    }
  }

  private static String adapter(Recipe recipe) throws IOException {
    byte[] file = Files.readAllBytes(recipe.outputFolder().resolve("adapter_model.safetensors"));
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(file));
    } catch (NoSuchAlgorithmException e) {
      throw new AssertionError(e);
    }
  }

  @ParameterizedTest
  @MethodSource("recipes")
  void each_recipe_trains_and_a_run_that_broke_off_ends_with_the_same_adapter(String name)
      throws IOException {
    Recipe whole = recipe(name, "whole");
    Recipe broken = recipe(name, "broken");
    var losses = new ArrayList<Double>();
    RunListener watching =
        new RunListener() {
          @Override
          public void step(StepMetrics metrics) {
            losses.add(metrics.loss());
          }
        };

    train(whole, watching, false);
    assertThatThrownBy(() -> train(broken, new PowerCut(5), false)).hasMessage("the power went");
    TrainingState end = train(broken, new RunListener() {}, true);

    assertThat(end.step()).isEqualTo(STEPS);
    assertThat(losses).hasSize(STEPS).allMatch(Double::isFinite);
    assertThat(adapter(broken)).isEqualTo(adapter(whole));
  }
}
