package espalier.recipes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.UnsupportedAdapterException;
import espalier.checkpoints.TensorFile;
import espalier.nn.Collective;
import espalier.nn.Scope;
import espalier.nn.parallel.InProcessCollective;
import espalier.training.EvalMetrics;
import espalier.training.RunListener;
import espalier.training.StepMetrics;
import espalier.training.TrainingState;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** A run of several ranks does what the same run of one does. */
class RanksTrainingTest {

  private static final Duration PATIENCE = Duration.ofSeconds(60);

  @TempDir Path folder;

  @BeforeEach
  void write_a_model_and_data() throws IOException {
    Path model = TinyChat.model(folder);
    TinyChat.data(folder, 24);
    Path tied = Files.createDirectory(folder.resolve("tied"));
    for (Path from : List.of(model, Path.of("../parity/models/llama_tied"))) {
      try (var files = Files.list(from)) {
        for (Path file : files.toList()) {
          Files.copy(file, tied.resolve(file.getFileName()), StandardCopyOption.REPLACE_EXISTING);
        }
      }
    }
  }

  private Recipe recipe(String output, int ranks, String... more) throws IOException {
    Path file =
        Files.writeString(
            folder.resolve(output + ".yaml"),
            """
            model: %1$s/model
            dtype: f32
            adapter: {peft_type: LORA, r: 4, lora_alpha: 8, target_modules: all-linear}
            data: {train: %1$s/data.jsonl, eval: %1$s/data.jsonl, max_length: 48}
            training:
              {steps: 6, batch_size: 4, gradient_accumulation: 2, learning_rate: 1e-2, max_grad_norm: 0.5,
               evaluate_every: 3, save_every: 2, threads: 1, tensor_parallel: %3$d}
            output: %1$s/%2$s
            """
                .formatted(folder, output, ranks));
    return RecipeFile.read(file, List.of(more));
  }

  /** What a run told, in order. */
  private static final class Told implements RunListener {
    final List<Double> losses = new ArrayList<>();
    final List<Double> norms = new ArrayList<>();
    final List<Double> evaluations = new ArrayList<>();
    final int breakAt;

    Told(int breakAt) {
      this.breakAt = breakAt;
    }

    @Override
    public void step(StepMetrics metrics) {
      losses.add(metrics.loss());
      norms.add(metrics.gradNorm());
      if (metrics.step() == breakAt) {
        throw new IllegalStateException("the power went");
      }
    }

    @Override
    public void eval(EvalMetrics metrics) {
      evaluations.add(metrics.loss());
    }
  }

  private static TrainingState train(
      Recipe recipe, RunListener told, boolean resume, @Nullable Collective ranks) {
    try (var run = TrainingRun.open(recipe, told, _ -> {}, ranks)) {
      return run.train(resume);
    }
  }

  private static List<TrainingState> together(Recipe recipe, RunListener told, boolean resume) {
    return InProcessCollective.run(
        recipe.training().tensorParallel(), PATIENCE, ranks -> train(recipe, told, resume, ranks));
  }

  private static double gap(List<Double> a, List<Double> b) {
    assertThat(a).hasSameSizeAs(b).isNotEmpty();
    double gap = 0;
    for (int i = 0; i < a.size(); i++) {
      gap = Math.max(gap, Math.abs(a.get(i) - b.get(i)));
    }
    return gap;
  }

  private static double gap(Path one, Path other) {
    try (var _ = Scope.open();
        TensorFile a = TensorFile.open(one);
        TensorFile b = TensorFile.open(other)) {
      assertThat(a.entries().keySet()).isEqualTo(b.entries().keySet());
      double gap = 0;
      for (String key : a.entries().keySet()) {
        assertThat(a.tensor(key).shape()).as(key).isEqualTo(b.tensor(key).shape());
        Tensor difference = a.tensor(key).sub(b.tensor(key));
        gap = Math.max(gap, difference.abs().max().item_double());
      }
      return gap;
    }
  }

  private static List<String> files(Path folder) throws IOException {
    try (Stream<Path> all = Files.walk(folder)) {
      return all.filter(Files::isRegularFile)
          .map(file -> folder.relativize(file).toString())
          .filter(name -> !name.contains("tfevents")) // its name has the time in it
          .sorted()
          .toList();
    }
  }

  @ParameterizedTest(name = "{0}")
  @CsvSource(
      delimiter = '|',
      value = {
        "adamw | adapter.use_rslora=true",
        "sgd | training.optimizer={type: sgd, momentum: 0.9}",
        "lora-plus | training.optimizer=lora-plus",
        "packed and checkpointed | data.packing=true training.gradient_checkpointing=true",
        "blocks | adapter.use_bdlora={target_modules_bd_a: [o_proj, down_proj],"
            + " target_modules_bd_b: [q_proj, up_proj], nblocks: 2}"
            + " adapter.target_modules=[q_proj,o_proj,up_proj,down_proj]",
        "embeddings and biases | adapter.target_modules=[embed_tokens,q_proj,o_proj]"
            + " adapter.bias=all",
        "a saved head | adapter.target_modules=[v_proj,down_proj] adapter.modules_to_save=[lm_head]"
            + " training.optimizer=sgd training.learning_rate=0.3",
        "a head that is the embedding | model=FOLDER/tied",
        "rows of tokens | model=FOLDER/tied adapter.trainable_token_indices=[97,98]",
      })
  void two_ranks_learn_what_one_does_and_write_its_folder(String what, String change)
      throws IOException {
    String[] changes = change.replace("FOLDER", folder.toString()).split(" (?=[a-z]+\\.)");
    var alone = new Told(0);
    var both = new Told(0);
    Recipe one = recipe("one", 1, changes);
    Recipe two = recipe("two", 2, changes);

    train(one, alone, false, null);
    List<TrainingState> ends = together(two, both, false);

    assertThat(ends).hasSize(2).allMatch(ends.getFirst()::equals);
    assertThat(gap(both.losses, alone.losses)).as(what).isLessThan(1e-5);
    assertThat(gap(both.norms, alone.norms)).as(what).isLessThan(1e-4);
    assertThat(gap(both.evaluations, alone.evaluations)).as(what).isLessThan(1e-5);
    assertThat(alone.losses.getLast()).isLessThan(alone.losses.getFirst() - 0.02);
    assertThat(files(two.outputFolder())).isEqualTo(files(one.outputFolder()));
    assertThat(gap(two.outputFolder(), one.outputFolder())).as(what).isLessThan(1e-4);
    assertThat(Path.of("adapter_config.json"))
        .satisfies(
            config ->
                assertThat(two.outputFolder().resolve(config))
                    .hasSameTextualContentAs(one.outputFolder().resolve(config)));
    Path checkpoint = Path.of("checkpoints", "step-6");
    Path state = checkpoint.resolve("optimizer.safetensors");
    assertThat(gap(two.outputFolder().resolve(state), one.outputFolder().resolve(state)))
        .isLessThan(1e-3);
  }

  @Test
  void a_run_that_broke_off_is_resumed_and_ends_with_the_same_adapter() throws IOException {
    Recipe whole = recipe("whole", 2);
    Recipe broken = recipe("broken", 2);

    together(whole, new Told(0), false);
    assertThatThrownBy(() -> together(broken, new Told(5), false)).hasMessage("the power went");
    var rest = new Told(0);
    together(broken, rest, true);

    assertThat(rest.losses).hasSize(2);
    assertThat(broken.outputFolder().resolve("adapter_model.safetensors"))
        .hasSameBinaryContentAs(whole.outputFolder().resolve("adapter_model.safetensors"));
  }

  @Test
  void the_best_adapter_is_kept_and_put_back() throws IOException {
    String[] stopping = {
      "training.early_stopping={patience: 1}",
      "training.evaluate_every=1",
      "training.steps=12",
      "training.learning_rate=0.3",
    };
    Recipe one = recipe("one", 1, stopping);
    Recipe two = recipe("two", 2, stopping);
    var alone = new Told(0);
    var both = new Told(0);

    TrainingState end = train(one, alone, false, null);
    List<TrainingState> ends = together(two, both, false);

    assertThat(end.step()).isLessThan(12);
    assertThat(ends).extracting(TrainingState::step).containsOnly(end.step());
    assertThat(gap(two.outputFolder(), one.outputFolder())).isLessThan(1e-2);
  }

  @Test
  void an_adapter_is_trained_on_from_the_folder_of_one_rank() throws IOException {
    train(recipe("start", 1), new Told(0), false, null);
    String from = "adapter={from: %s}".formatted(folder.resolve("start"));
    Recipe one = recipe("one", 1, from);
    Recipe two = recipe("two", 2, from);
    var alone = new Told(0);
    var both = new Told(0);

    train(one, alone, false, null);
    together(two, both, false);

    assertThat(gap(both.losses, alone.losses)).isLessThan(1e-5);
    assertThat(gap(two.outputFolder(), one.outputFolder())).isLessThan(1e-4);
  }

  @ParameterizedTest
  @CsvSource({"model, 2", "tied, 4"})
  void rank_0_alone_tells_and_what_it_tells_is_of_the_whole_model(String base, int size)
      throws IOException {
    String model = "model=" + folder.resolve(base);
    Recipe split = recipe("split", size, model);

    List<String> counted =
        InProcessCollective.run(
            size,
            PATIENCE,
            ranks -> {
              var told = new Told(ranks.rank() == 0 ? 0 : 1); // 1 would break off
              try (var run = TrainingRun.open(split, told, _ -> {}, ranks)) {
                run.train(false);
                return run.model().adapters().trainableLine();
              }
            });
    String alone;
    try (var run = TrainingRun.open(recipe("one", 1, model), new Told(0), _ -> {})) {
      alone = run.model().adapters().trainableLine();
    }

    assertThat(counted).containsOnly(alone);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "adapter.use_dora=true | use_dora does not exist",
        "adapter={peft_type: HIRA, r: 4} | HIRA does not exist; use LORA",
        "adapter={peft_type: HIRA_SB, r: 4} | HIRA_SB starts from data",
        "adapter.init_lora_weights=eva | init_lora_weights eva starts from data",
      })
  void what_does_not_exist_on_split_layers_is_refused_by_name(String change, String part)
      throws IOException {
    Recipe two = recipe("two", 2, change);

    assertThatThrownBy(() -> together(two, new Told(0), false))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageContaining(part);
    assertThat(Files.exists(two.outputFolder())).isFalse();
  }

  @Test
  void a_quantised_base_is_refused() throws IOException {
    Recipe two = recipe("two", 2, "quantize=int8");

    assertThatThrownBy(() -> together(two, new Told(0), false))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "quantize is int8 but with training.tensor_parallel 2 layers are split, which does not"
                + " exist for quantised weights; set quantize to none, or tensor_parallel to 1");
  }

  @ParameterizedTest
  @ValueSource(strings = {"adamw8bit", "lora-fa", "riemannian"})
  void an_optimizer_that_must_see_whole_tensors_is_refused(String optimizer) throws IOException {
    Recipe two = recipe("two", 2, "training.optimizer=" + optimizer);

    assertThatThrownBy(() -> together(two, new Told(0), false))
        .isInstanceOf(RecipeException.class)
        .hasMessageStartingWith(
            "training.optimizer is %s, which has to see whole tensors".formatted(optimizer));
  }

  @Test
  void a_recipe_for_ranks_is_not_run_by_another_number_of_them() throws IOException {
    Recipe two = recipe("two", 2);

    assertThatThrownBy(() -> train(two, new Told(0), false, null))
        .isInstanceOf(RecipeException.class)
        .hasMessageStartingWith("training.tensor_parallel is 2 but 1 compute this run");
    assertThatThrownBy(() -> recipe("none", 0)).hasMessageContaining("must be 1 or more");
  }

  @Test
  void a_number_of_ranks_that_the_heads_can_not_be_dealt_to_is_refused() throws IOException {
    Recipe four = recipe("four", 4);

    assertThatThrownBy(() -> together(four, new Told(0), false))
        .hasMessageContaining("4 heads and 2 key heads, which can not be dealt to 4 ranks");
    assertThat(Files.exists(four.outputFolder())).isFalse();
  }

  @Test
  void a_rank_that_fails_ends_the_run_of_the_others() throws IOException {
    Recipe two = recipe("two", 2);

    assertThatThrownBy(
            () ->
                InProcessCollective.run(
                    2,
                    PATIENCE,
                    ranks -> {
                      if (ranks.rank() == 1) {
                        throw new IllegalStateException("rank 1 is broken");
                      }
                      return train(two, new Told(0), false, ranks);
                    }))
        .hasMessage("rank 1 is broken");
    assertThat(Arrays.asList("adapter_model.safetensors", "metrics.jsonl"))
        .noneMatch(name -> Files.exists(two.outputFolder().resolve(name)));
  }
}
