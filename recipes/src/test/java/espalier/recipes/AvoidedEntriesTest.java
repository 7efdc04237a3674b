package espalier.recipes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.shira.ShiraLinear;
import espalier.training.RunListener;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import org.bytedeco.javacpp.IntPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AvoidedEntriesTest {

  @TempDir Path folder;

  @BeforeEach
  void write() throws IOException {
    TinyChat.model(folder);
    TinyChat.data(folder, 12);
  }

  private Recipe recipe(String adapter, String output) throws IOException {
    Path file =
        Files.writeString(
            folder.resolve(output + ".yaml"),
            """
            model: %s
            adapter: %s
            data: {train: %s, max_length: 64}
            training: {steps: 2, batch_size: 2, learning_rate: 0.01, threads: 1}
            output: %s
            """
                .formatted(
                    folder.resolve("model"),
                    adapter,
                    folder.resolve("data.jsonl"),
                    folder.resolve(output)));
    return RecipeFile.read(file, List.of());
  }

  private static String shira(String mask, Path... others) {
    return "{peft_type: SHIRA, r: 2, mask_type: %s, target_modules: all-linear, mask_options: {calibration_batches: 2, non_overlap_with: %s}}"
        .formatted(mask, List.of(others));
  }

  private static Map<String, Set<Long>> entries(TrainingRun run) {
    var entries = new TreeMap<String, Set<Long>>();
    run.model()
        .adapters()
        .on(TrainingRun.ADAPTER)
        .forEach((path, adapter) -> entries.put(path, entries((ShiraLinear) adapter)));
    return entries;
  }

  private static Set<Long> entries(ShiraLinear adapter) {
    try (var _ = new PointerScope()) {
      Tensor indices = adapter.indices();
      var numbers = new int[(int) indices.numel()];
      new IntPointer(indices.contiguous().data_ptr()).get(numbers);
      int count = numbers.length / 2;
      var found = new HashSet<Long>();
      for (int i = 0; i < count; i++) {
        found.add(numbers[i] * adapter.layer().in() + numbers[count + i]);
      }
      return found;
    }
  }

  @Test
  void a_recipe_leaves_out_the_entries_of_adapters_in_other_folders() throws IOException {
    Path first = folder.resolve("first");
    Map<String, Set<Long>> taken;
    try (var run =
        TrainingRun.open(recipe(shira("gradient"), "first"), new RunListener() {}, _ -> {})) {
      run.train(false);
      taken = entries(run);
    }

    for (String mask : List.of("random", "gradient", "snip")) {
      Recipe recipe = recipe(shira(mask, first), "beside-" + mask);
      try (var run = TrainingRun.open(recipe, new RunListener() {}, _ -> {})) {
        assertThat(run.model().adapters().names()).containsExactly(TrainingRun.ADAPTER);
        assertThat(run.model().adapters().active()).containsExactly(TrainingRun.ADAPTER);
        entries(run)
            .forEach(
                (path, own) ->
                    assertThat(own)
                        .hasSameSizeAs(Objects.requireNonNull(taken.get(path)))
                        .doesNotContainAnyElementsOf(taken.get(path)));
        run.train(false);
      }
    }
  }

  @Test
  void a_recipe_says_when_the_data_has_fewer_batches_than_are_to_be_averaged() throws IOException {
    var told = new ArrayList<String>();
    RunListener listening =
        new RunListener() {
          @Override
          public void message(String text) {
            told.add(text);
          }
        };
    String adapter =
        "{peft_type: SHIRA, r: 2, mask_type: snip, target_modules: all-linear, mask_options:"
            + " {calibration_batches: 9}}";

    try (var _ = TrainingRun.open(recipe(adapter, "few"), listening, _ -> {})) {
      assertThat(told).contains("calibration_batches is 9 but the data has 6; these are taken");
    }
  }

  @Test
  void a_folder_without_a_shira_adapter_is_refused() throws IOException {
    Path lora = folder.resolve("lora");
    Recipe other = recipe("{peft_type: LORA, r: 2, target_modules: all-linear}", "lora");
    try (var run = TrainingRun.open(other, new RunListener() {}, _ -> {})) {
      run.saveStart(lora);
    }

    for (var wrong :
        Map.of(
                lora, "which is LORA and may change every entry; name SHIRA adapters",
                folder, "where there is no adapter_config.json; name the folders of adapters")
            .entrySet()) {
      Recipe recipe = recipe(shira("random", wrong.getKey()), "refused");
      assertThatThrownBy(() -> TrainingRun.open(recipe, new RunListener() {}, _ -> {}))
          .isInstanceOf(RecipeException.class)
          .hasMessageContaining("adapter.mask_options.non_overlap_with has " + wrong.getKey())
          .hasMessageContaining(wrong.getValue());
    }
  }
}
