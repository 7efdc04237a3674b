package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.SafetensorsFile;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** HiRA-SB from a recipe to an adapter's folder, on a tiny model and a few lines of text. */
class HiraSbCommandsTest {

  private static final Path WEIGHTS = Path.of("../parity/models/llama");
  private static final String KEY = "base_model.model.model.layers.1.self_attn.v_proj.";

  @TempDir Path folder;

  @BeforeEach
  void write() throws IOException {
    Path model = Files.createDirectory(folder.resolve("model"));
    for (String file : List.of("config.json", "model.safetensors")) {
      Files.copy(WEIGHTS.resolve(file), model.resolve(file));
    }
    Files.writeString(model.resolve("tokenizer.json"), tokenizer());
    Files.writeString(
        model.resolve("tokenizer_config.json"),
        "{\"eos_token\": \"</s>\", \"pad_token\": \"<pad>\", \"bos_token\": \"<s>\"}");
    var rows = new StringBuilder();
    for (int i = 0; i < 12; i++) {
      char c = (char) ('a' + i);
      rows.append(
          "{\"prompt\": \"%s%s\", \"completion\": \"%s\"}%n".formatted(c, c, (char) (c + 1)));
    }
    Files.writeString(folder.resolve("rows.jsonl"), rows);
  }

  /** A token a printable character. */
  private static String tokenizer() {
    Map<String, Integer> vocabulary = new LinkedHashMap<>();
    for (String special : List.of("<pad>", "<s>", "</s>")) {
      vocabulary.put(special, vocabulary.size());
    }
    for (char c = 33; c < 127; c++) {
      vocabulary.put(Character.toString(c), vocabulary.size());
    }
    vocabulary.put("\u0120", vocabulary.size()); // how byte-level vocabularies write a space
    vocabulary.put("\u010a", vocabulary.size()); // and a line's end
    var special =
        List.of("<pad>", "<s>", "</s>").stream()
            .map(
                token ->
                    Map.of(
                        "id",
                        vocabulary.get(token),
                        "content",
                        token,
                        "special",
                        true,
                        "single_word",
                        false,
                        "lstrip",
                        false,
                        "rstrip",
                        false,
                        "normalized",
                        false))
            .toList();
    var level =
        Map.of(
            "type",
            "ByteLevel",
            "add_prefix_space",
            false,
            "trim_offsets",
            true,
            "use_regex",
            false);
    return JsonMapper.shared()
        .writeValueAsString(
            Map.of(
                "version",
                "1.0",
                "added_tokens",
                special,
                "pre_tokenizer",
                level,
                "decoder",
                level,
                "model",
                Map.of("type", "BPE", "vocab", vocabulary, "merges", List.of())));
  }

  private Path recipe(String adapter, String output) throws IOException {
    return Files.writeString(
        folder.resolve(output + ".yaml"),
        """
        model: %s
        adapter: %s
        data: {train: %s, max_length: 16}
        training: {steps: 6, batch_size: 2, learning_rate: 0.01, warmup: 0, threads: 1, save_every: 3, keep: 5}
        output: %s
        """
            .formatted(
                folder.resolve("model"),
                adapter,
                folder.resolve("rows.jsonl"),
                folder.resolve(output)));
  }

  private static CommandRun done(String... arguments) {
    CommandRun run = CommandRun.of(arguments);
    assertThat(run.err()).doesNotContain("error:");
    assertThat(run.exitCode()).isZero();
    return run;
  }

  private static final String ADAPTER =
      "{peft_type: HIRA_SB, r: 4, calibration_batches: 4, target_modules: [q_proj, v_proj]}";

  private List<Double> losses(String run) throws IOException {
    var losses = new java.util.ArrayList<Double>();
    for (String line : Files.readAllLines(folder.resolve(run).resolve("metrics.jsonl"))) {
      JsonNode json = JsonMapper.shared().readTree(line);
      if (json.has("loss") && json.has("step")) {
        losses.add(json.get("loss").doubleValue());
      }
    }
    return losses;
  }

  private static Map<String, Tensor> tensors(Path adapter) {
    try (var file = SafetensorsFile.open(adapter.resolve("adapter_model.safetensors"))) {
      var all = new LinkedHashMap<String, Tensor>();
      file.entries().keySet().forEach(key -> all.put(key, file.tensor(key)));
      return all;
    }
  }

  private static Tensor there(Map<String, Tensor> tensors, String key) {
    return Objects.requireNonNull(tensors.get(key), key);
  }

  private static boolean zero(Tensor tensor) {
    return tensor.abs().max().item_double() == 0;
  }

  @Test
  void training_takes_the_bases_from_the_recipes_data_and_trains_r_alone() throws IOException {
    CommandRun run = done("train", recipe(ADAPTER, "run").toString());

    assertThat(run.err())
        .contains("HiRA-SB: averaging the gradients of 4 layers")
        .contains("trainable params: 64 ");
    try (var _ = Scope.open()) {
      Map<String, Tensor> saved = tensors(folder.resolve("run"));
      assertThat(saved).hasSize(12).containsKeys(KEY + "hirasb_R", KEY + "hirasb_A");
      assertThat(zero(there(saved, KEY + "hirasb_R"))).isFalse();
      assertThat(zero(there(saved, KEY + "hirasb_B"))).isFalse();
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          r: 4096, target_modules: [q_proj] | r is 4096 for model.layers.0.self_attn.q_proj
          r: 4, target_modules: [embed_tokens] | model.embed_tokens is a Embedding but HiRA-SB
          """)
  void a_target_that_can_not_be_adapted_is_refused_before_the_data_is_made_ready(
      String fields, String message) throws IOException {
    String adapter = "{peft_type: HIRA_SB, calibration_batches: 99, %s}".formatted(fields);

    CommandRun run = CommandRun.of("train", recipe(adapter, "refused").toString());

    assertThat(run.exitCode()).isNotZero();
    assertThat(run.err())
        .contains(message)
        .doesNotContain("calibration_batches is")
        .doesNotContain("averaging");
  }

  @Test
  void the_bases_do_not_depend_on_how_many_layers_fit_into_memory() throws IOException {
    String oneByOne = ADAPTER.replace("r: 4", "r: 4, init_memory: 1");

    CommandRun run =
        done("init", "hira-sb", "-r", recipe(oneByOne, "a").toString(), "-o", at("one"));
    done("init", "hira-sb", "-r", recipe(ADAPTER, "b").toString(), "-o", at("all"));

    assertThat(run.err()).contains("group 4 of 4");
    try (var _ = Scope.open()) {
      Map<String, Tensor> one = tensors(folder.resolve("one"));
      tensors(folder.resolve("all"))
          .forEach((key, tensor) -> assertThat(tensor.equal(there(one, key))).as(key).isTrue());
      assertThat(zero(there(one, KEY + "hirasb_R"))).isTrue();
      assertThat(zero(there(one, KEY + "hirasb_A"))).isFalse();
    }
  }

  private String at(String name) {
    return folder.resolve(name).toString();
  }

  @Test
  void a_start_from_other_data_is_saved_and_trained_from() throws IOException {
    Path other =
        Files.writeString(
            folder.resolve("other.jsonl"),
            Files.readString(folder.resolve("rows.jsonl")).replace('a', 'z'));
    String recipe = recipe(ADAPTER, "run").toString();

    CommandRun run =
        done("init", "hira-sb", "-r", recipe, "--data", other.toString(), "-o", at("start"));
    done("train", recipe("{from: %s}".formatted(at("start")), "from").toString());

    assertThat(run.out()).isEqualTo("adapter: %s%n".formatted(at("start")));
    try (var _ = Scope.open()) {
      Map<String, Tensor> start = tensors(folder.resolve("start"));
      Map<String, Tensor> end = tensors(folder.resolve("from"));
      assertThat(there(end, KEY + "hirasb_A").equal(there(start, KEY + "hirasb_A"))).isTrue();
      assertThat(zero(there(start, KEY + "hirasb_R"))).isTrue();
      assertThat(zero(there(end, KEY + "hirasb_R"))).isFalse();
    }
  }

  @Test
  void a_run_is_gone_on_with_without_looking_at_data_again() throws IOException {
    done("train", recipe(ADAPTER, "whole").toString());
    List<Double> whole = losses("whole");
    String recipe = recipe(ADAPTER, "run").toString();
    done("train", recipe);
    Path newest = folder.resolve("run/checkpoints/step-6"); // as if it had been killed before
    try (var files = Files.list(newest)) {
      for (Path file : files.toList()) {
        Files.delete(file);
      }
    }
    Files.delete(newest);

    CommandRun run = done("train", recipe, "--resume");

    assertThat(run.err()).doesNotContain("averaging");
    assertThat(losses("run")).isEqualTo(whole);
  }

  @Test
  void fewer_examples_than_the_calibration_wants_are_told() throws IOException {
    String many = ADAPTER.replace("batches: 4", "batches: 9");

    CommandRun run = done("init", "hira-sb", "-r", recipe(many, "a").toString(), "-o", at("out"));

    assertThat(run.err() + run.out())
        .contains("calibration_batches is 9 but the data has 6; these are taken");
  }

  @Test
  void a_trained_adapter_is_exported_as_hira_and_computes_the_same() throws IOException {
    done("train", recipe(ADAPTER, "run").toString());

    done("convert", at("run"), "--to", "hira", "-o", at("hira"));

    String model = at("model");
    String in = inputs().toString();
    done("logits", "-m", model, "-a", at("run"), "-i", in, "-o", at("sb.safetensors"));
    done("logits", "-m", model, "-a", at("hira"), "-i", in, "-o", at("hira.safetensors"));
    done("logits", "-m", model, "-i", in, "-o", at("base.safetensors"));
    assertThat(difference("sb", "hira")).isLessThan(2e-5);
    assertThat(difference("sb", "base")).isGreaterThan(1e-3);
    JsonNode config =
        JsonMapper.shared().readTree(folder.resolve("hira/adapter_config.json").toFile());
    assertThat(config.get("peft_type").stringValue()).isEqualTo("HIRA");
    CommandRun refused = CommandRun.of("convert", at("run"), "--to", "lora", "-o", at("lora"));
    assertThat(refused.exitCode()).isNotZero();
    assertThat(refused.err()).contains("HIRA_SB can not be exported as LORA");
  }

  private Path inputs() {
    Path file = folder.resolve("inputs.safetensors");
    try (var _ = Scope.open()) {
      Tensor ids = org.bytedeco.pytorch.global.torch.arange(new org.bytedeco.pytorch.Scalar(8L));
      espalier.checkpoints.SafetensorsWriter.write(
          file, Map.of("input_ids", ids.view(2, 4).to(ScalarType.Long)));
    }
    return file;
  }

  private double difference(String a, String b) {
    try (var _ = Scope.open();
        var first = SafetensorsFile.open(folder.resolve(a + ".safetensors"));
        var second = SafetensorsFile.open(folder.resolve(b + ".safetensors"))) {
      return first.tensor("logits").sub(second.tensor("logits")).abs().max().item_double();
    }
  }
}
