package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import espalier.checkpoints.TensorFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** The commands that measure, answer, merge and show, on a tiny model. */
class WorkCommandsTest {

  private static final String ADAPTER = "../parity/cases/lora_default_llama/adapter";

  @TempDir Path folder;

  private Recipes recipes = new Recipes(Path.of(""));

  @BeforeEach
  void write() throws IOException {
    recipes = Recipes.in(folder);
  }

  private static CommandRun done(String... arguments) {
    CommandRun run = CommandRun.of(arguments);
    assertThat(run.exitCode()).as(run.err()).isZero();
    return run;
  }

  private static JsonNode json(String line) {
    return JsonMapper.shared().readTree(line);
  }

  @Test
  void an_evaluation_tells_loss_perplexity_accuracy_and_what_it_counted() {
    JsonNode base = json(done("eval", "-m", recipes.model(), "-d", recipes.rows(), "--json").out());
    JsonNode all =
        json(
            done("eval", "-m", recipes.model(), "-d", recipes.rows(), "--train-on", "all", "--json")
                .out());
    CommandRun table = done("eval", "-m", recipes.model(), "-d", recipes.rows(), "-a", ADAPTER);

    double loss = base.get("loss").doubleValue();
    assertThat(base.get("perplexity").doubleValue()).isCloseTo(Math.exp(loss), within(1e-6));
    assertThat(base.get("token_accuracy").doubleValue()).isBetween(0.0, 1.0);
    assertThat(base.get("examples").intValue()).isEqualTo(8);
    // "a tree" is six bytes and the turn's end, for each of eight rows
    assertThat(base.get("tokens").intValue()).isBetween(8 * 6, 8 * 8);
    assertThat(all.get("tokens").intValue()).isGreaterThan(base.get("tokens").intValue());
    assertThat(table.out())
        .startsWith("loss ")
        .contains("perplexity", "token accuracy", "tokens", "examples")
        .doesNotContain("%.4g".formatted(loss));
  }

  @Test
  void adapters_of_two_methods_answer_rows_of_one_batch_each_as_it_would_alone()
      throws IOException {
    for (String method : List.of("HIRA", "GRALORA")) {
      String recipe = recipes.write(method, "{peft_type: %s, r: 4}".formatted(method));
      done("train", recipe, "--quiet", "--set", "training.steps=20");
    }
    Path prompts =
        Files.writeString(
            folder.resolve("prompts.jsonl"),
            """
            {"prompt": "elm?", "adapter": "one"}
            {"prompt": "elm?", "adapter": "two"}
            """);
    String one = "one=" + recipes.at("HIRA");
    String two = "two=" + recipes.at("GRALORA");

    var both = new ArrayList<>(List.of("-a", one, "-a", two, "--prompts", prompts.toString()));
    List<JsonNode> rows = answers(both);
    JsonNode first = answers(List.of("-a", one, "-p", "elm?")).getFirst();
    JsonNode second = answers(List.of("-a", two, "-p", "elm?")).getFirst();

    assertThat(rows)
        .extracting(row -> row.get("text"))
        .containsExactly(first.get("text"), second.get("text"));
    assertThat(first.get("text")).isNotEqualTo(second.get("text"));
  }

  private List<JsonNode> answers(List<String> asked) {
    var arguments = new ArrayList<>(List.of("generate", "-m", recipes.model(), "--dtype", "f32"));
    arguments.addAll(asked);
    arguments.addAll(List.of("--max-new-tokens", "6", "--json"));
    return done(arguments.toArray(String[]::new))
        .out()
        .lines()
        .map(WorkCommandsTest::json)
        .toList();
  }

  @Test
  void each_row_of_a_file_of_prompts_is_answered_by_its_adapter() throws IOException {
    String train = recipes.write("taught", "{peft_type: LORA, r: 8, lora_alpha: 16}");
    done("train", train, "--quiet", "--set", "training.steps=60");
    Path prompts =
        Files.writeString(
            folder.resolve("prompts.jsonl"),
            """
            {"prompt": "elm?"}
            {"prompt": "elm?", "adapter": "trees"}
            """);

    List<String> rows =
        done(
                "generate",
                "-m",
                recipes.model(),
                "--adapter",
                "trees=" + recipes.at("taught"),
                "--prompts",
                prompts.toString(),
                "--temperature",
                "0",
                "--max-new-tokens",
                "6",
                "--json")
            .out()
            .lines()
            .toList();
    JsonNode alone =
        json(
            done(
                    "generate",
                    "-m",
                    recipes.model(),
                    "-p",
                    "elm?",
                    "--temperature",
                    "0",
                    "--max-new-tokens",
                    "6",
                    "--json")
                .out());

    assertThat(rows).hasSize(2);
    assertThat(json(rows.get(1)).get("adapter").stringValue()).isEqualTo("trees");
    assertThat(json(rows.get(1)).get("text").stringValue()).isEqualTo("a tree");
    assertThat(alone.get("text").stringValue()).isNotEqualTo("a tree");
  }

  @Test
  void along_beams_an_answer_is_found_whole_and_one_beam_is_no_search() {
    String[] asked = {
      "generate",
      "-m",
      recipes.model(),
      "-p",
      "elm?",
      "--max-new-tokens",
      "12",
      "--json",
      "--dtype",
      "f32"
    };

    JsonNode plain = json(done(asked).out());
    JsonNode one = json(done(and(asked, "--beams", "1")).out());
    JsonNode four = json(done(and(asked, "--beams", "4", "--length-penalty", "0.5")).out());
    JsonNode never = json(done(and(asked, "--num-beams=4", "--early-stopping", "never")).out());

    assertThat(one).isEqualTo(plain);
    assertThat(four.get("text")).isNotEqualTo(plain.get("text"));
    assertThat(never.get("completion_tokens").asInt()).isBetween(1, 12);
  }

  @Test
  void settings_of_beams_without_beams_or_beside_a_draw_are_refused() {
    CommandRun alone =
        CommandRun.of("generate", "-m", "m", "-p", "elm?", "--early-stopping", "true");
    CommandRun word =
        CommandRun.of("generate", "-m", "m", "-p", "elm?", "--beams=2", "--early-stopping=maybe");
    CommandRun draw =
        CommandRun.of(
            "generate", "-m", recipes.model(), "-p", "elm?", "--beams", "2", "--top-k", "5");

    assertThat(List.of(alone, word, draw)).extracting(CommandRun::exitCode).containsOnly(2);
    assertThat(alone.err())
        .contains(
            "--early-stopping was given but is for a search along beams; add --beams 4, or leave"
                + " it out");
    assertThat(word.err()).contains("'maybe' is not known; write false, true or never");
    assertThat(draw.err())
        .contains("temperature is 1.0 but a search along beams draws nothing; set it to 0");
  }

  private static String[] and(String[] arguments, String... more) {
    return Stream.concat(Arrays.stream(arguments), Arrays.stream(more)).toArray(String[]::new);
  }

  @Test
  void tokens_that_a_recipe_adds_are_known_to_whoever_generates_with_its_adapter()
      throws IOException {
    String train = recipes.write("tokens", "{peft_type: LORA, r: 4, target_modules: [q_proj]}");
    done("train", train, "--quiet", "--set", "add_tokens=[<tree>]");
    String[] asked = {
      "generate",
      "-m",
      recipes.model(),
      "--raw",
      "-p",
      "an elm <tree>",
      "--max-new-tokens",
      "2",
      "--json"
    };

    JsonNode plain = json(done(asked).out());
    JsonNode adapted = json(done(and(asked, "-a", recipes.at("tokens"))).out());

    assertThat(plain.get("prompt_tokens").asInt() - adapted.get("prompt_tokens").asInt())
        .isEqualTo("<tree>".length() - 1);
  }

  @Test
  void kappa_chooses_a_number_of_layers_for_a_recipe() {
    List<String> lines =
        done("kappa", "-m", recipes.model(), "--num-modules", "3", "--json").out().lines().toList();

    assertThat(json(lines.getLast()).get("target_modules").size()).isEqualTo(3);
    assertThat(lines.subList(0, lines.size() - 1))
        .allMatch(line -> json(line).get("kappa").isNumber());
    assertThat(lines.stream().filter(line -> line.contains("\"chosen\":true"))).hasSize(3);
  }

  @Test
  void loftq_loses_less_with_the_adapter_than_without() throws IOException {
    Path config = Files.createDirectory(folder.resolve("config"));
    Files.writeString(
        config.resolve("adapter_config.json"),
        """
        {"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": ["q_proj"]}
        """);

    List<String> lines =
        done(
                "loftq",
                "-m",
                recipes.model(),
                "--nf4",
                "-a",
                config.toString(),
                "-o",
                recipes.at("start"),
                "--json")
            .out()
            .lines()
            .toList();

    assertThat(lines).hasSize(3);
    for (String line : lines.subList(0, 2)) {
      JsonNode row = json(line);
      assertThat(row.get("lost_with_adapter").doubleValue())
          .isLessThan(row.get("lost").doubleValue())
          .isPositive();
    }
    assertThat(json(lines.getLast()).get("adapter").stringValue()).isEqualTo(recipes.at("start"));
  }

  @Test
  void a_conversion_prints_json_alone_where_it_is_asked_to() {
    CommandRun run = done("convert", recipes.model(), "-o", recipes.at("copy"), "--json");

    assertThat(run.out()).isEqualTo("{\"model\":\"%s\"}%n".formatted(recipes.at("copy")));
  }

  @Test
  void a_model_is_merged_in_the_dtype_that_was_asked_for() {
    String model = recipes.model();
    done("merge", "-m", model, "-a", ADAPTER, "-o", recipes.at("half"), "--dtype", "bf16");

    try (TensorFile file = TensorFile.open(folder.resolve("half"))) {
      assertThat(file.entries().values()).allMatch(entry -> entry.dtype().equals("BF16"));
    }
  }

  @Test
  void repeated_blocks_are_merged_once_they_have_weights_of_their_own() throws IOException {
    String train =
        recipes.write(
            "deep", "{peft_type: LORA, r: 4, lora_alpha: 8, layer_replication: [[0, 2], [1, 2]]}");
    done("train", train, "--quiet");
    String[] merge = {"merge", "-m", recipes.model(), "-a", recipes.at("deep"), "-o"};

    CommandRun refused =
        CommandRun.of(merge[0], merge[1], merge[2], merge[3], merge[4], merge[5], recipes.at("x"));
    done(
        merge[0], merge[1], merge[2], merge[3], merge[4], merge[5], recipes.at("three"), "--untie");

    assertThat(refused.exitCode()).isEqualTo(2);
    assertThat(refused.err()).contains("untie the replicas");
    assertThat(folder.resolve("x")).doesNotExist();
    try (TensorFile file = TensorFile.open(folder.resolve("three"))) {
      assertThat(file.entries())
          .containsKey("model.layers.2.self_attn.q_proj.weight")
          .doesNotContainKey("model.layers.3.self_attn.q_proj.weight");
    }
    assertThat(Files.readString(folder.resolve("three/config.json")))
        .containsPattern("\"num_hidden_layers\" ?: 3");
  }

  @Test
  void the_demo_trains_any_model_and_names_what_to_try_next() throws IOException {
    Path config = folder.resolve("model/config.json");
    Files.writeString(
        config,
        Files.readString(config)
            .replaceFirst("\"max_position_embeddings\": \\d+", "\"max_position_embeddings\": 512"));

    CommandRun run =
        done("demo", "--quick", "-m", recipes.model(), "-o", recipes.at("demo"), "--threads", "1");

    assertThat(run.out())
        .contains("question Define the noun", "before ", "after ", "evaluation loss ")
        .contains("Try next:", "espalier generate", "espalier chat", "espalier train");
    assertThat(folder.resolve("demo"))
        .isDirectoryContaining("glob:**/adapter_model.safetensors")
        .isDirectoryContaining("glob:**/loss.png")
        .isDirectoryContaining("glob:**/my-recipe.yaml");
  }
}
