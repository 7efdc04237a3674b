package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.SafetensorsFile;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** SHiRA's entries chosen by gradients of the recipe's data, on a tiny model. */
class ShiraCommandsTest {

  private static final String VALUES = "shira_weight";

  @TempDir Path folder;

  @BeforeEach
  void write_a_model_and_data() throws IOException {
    TinyChatModel.writeWithRows(folder);
  }

  private String recipe(String name, String adapter) throws IOException {
    return Files.writeString(
            folder.resolve(name + ".yaml"),
            """
            model: %s
            adapter: %s
            data: {train: %s, max_length: 64}
            training: {steps: 2, batch_size: 2, learning_rate: 0.01, warmup: 0, threads: 1}
            output: %s
            """
                .formatted(
                    folder.resolve("model"),
                    adapter,
                    folder.resolve("rows.jsonl"),
                    folder.resolve(name)))
        .toString();
  }

  private static CommandRun done(String... arguments) {
    CommandRun run = CommandRun.of(arguments);
    assertThat(run.err()).doesNotContain("error:");
    assertThat(run.exitCode()).isZero();
    return run;
  }

  private static Map<String, Tensor> tensors(Path adapter) {
    try (var file = SafetensorsFile.open(adapter.resolve("adapter_model.safetensors"))) {
      var all = new LinkedHashMap<String, Tensor>();
      file.entries().keySet().forEach(key -> all.put(key, file.tensor(key)));
      return all;
    }
  }

  private static boolean same(Map<String, Tensor> one, Map<String, Tensor> two, String kind) {
    return one.entrySet().stream()
        .filter(e -> e.getKey().endsWith(kind))
        .allMatch(e -> e.getValue().equal(Objects.requireNonNull(two.get(e.getKey()))));
  }

  @Test
  void a_start_by_gradients_is_saved_and_trained_from_with_the_entries_that_it_chose()
      throws IOException {
    String adapter =
        "{peft_type: SHIRA, r: 2, mask_options: {calibration_batches: 3}, target_modules: [q_proj,"
            + " v_proj]}";
    String recipe = recipe("run", adapter);
    Path gradient = folder.resolve("gradient");
    Path snip = folder.resolve("snip");

    CommandRun run = done("init", "shira-gradient", "-r", recipe, "-o", gradient.toString());
    done("init", "shira-snip", "-r", recipe, "-o", snip.toString());
    done("train", recipe("from", "{from: %s}".formatted(gradient)));

    assertThat(run.err()).contains("SHiRA: averaging the gradients of 4 layers");
    assertThat(Files.readString(gradient.resolve("adapter_config.json")))
        .contains("\"mask_type\": \"gradient\"");
    try (var _ = Scope.open()) {
      Map<String, Tensor> start = tensors(gradient);
      Map<String, Tensor> end = tensors(folder.resolve("from"));
      assertThat(same(start, end, "indices")).isTrue();
      assertThat(same(start, end, VALUES)).isFalse();
      assertThat(same(start, tensors(snip), "indices")).isFalse();
    }
  }

  @Test
  void a_run_is_gone_on_with_by_the_entries_of_its_checkpoint() throws IOException {
    String adapter = "{peft_type: SHIRA, r: 2, mask_type: snip, target_modules: [q_proj, v_proj]}";
    String recipe = recipe("run", adapter);
    done("train", recipe);

    CommandRun run = done("train", recipe, "--resume");

    assertThat(run.err()).doesNotContain("averaging");
  }
}
