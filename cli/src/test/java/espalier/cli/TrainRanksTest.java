package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import espalier.checkpoints.TensorFile;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/** Training by several processes that the command line starts. */
class TrainRanksTest {

  @TempDir Path folder;

  @BeforeEach
  void write_a_model_and_data() throws IOException {
    TinyChatModel.writeWithRows(folder);
  }

  private String recipe(String name, int ranks, String adapter) throws IOException {
    return Files.writeString(
            folder.resolve(name + ".yaml"),
            """
            model: %1$s/model
            dtype: f32
            adapter: {peft_type: LORA, r: 4, lora_alpha: 8%4$s}
            data: {train: %1$s/rows.jsonl, eval: %1$s/rows.jsonl, max_length: 48}
            training:
              {steps: 8, batch_size: 4, learning_rate: 1e-2, save_every: 2, threads: 1, tensor_parallel: %3$d}
            output: %1$s/%2$s
            """
                .formatted(folder, name, ranks, adapter))
        .toString();
  }

  /** This program in another process. */
  private record Child(Process process, Path log) implements AutoCloseable {

    boolean ends() throws InterruptedException {
      return process.waitFor(90, TimeUnit.SECONDS);
    }

    List<ProcessHandle> ranks() {
      return process.children().sorted(Comparator.comparingLong(ProcessHandle::pid)).toList();
    }

    String said() throws IOException {
      return Files.readString(log);
    }

    @Override
    public void close() {
      process.children().forEach(ProcessHandle::destroyForcibly);
      process.destroyForcibly();
    }
  }

  private Child child(String... arguments) throws IOException {
    List<String> command = ChildJvm.command(Main.class, Arrays.asList(arguments), "-Xmx200m");
    Path log = folder.resolve("child.log");
    return new Child(
        new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile()).start(),
        log);
  }

  private static double gap(Path one, Path other) {
    try (var _ = Scope.open();
        TensorFile a = TensorFile.open(one);
        TensorFile b = TensorFile.open(other)) {
      assertThat(a.entries().keySet()).isEqualTo(b.entries().keySet());
      double gap = 0;
      for (String key : a.entries().keySet()) {
        Tensor difference = a.tensor(key).sub(b.tensor(key));
        gap = Math.max(gap, difference.abs().max().item_double());
      }
      return gap;
    }
  }

  private void awaitSteps(Child child, String name) throws IOException, InterruptedException {
    Path metrics = folder.resolve(name).resolve("metrics.jsonl");
    while (child.process().isAlive() && (!Files.exists(metrics) || Files.size(metrics) < 400)) {
      Thread.sleep(2);
    }
    assertThat(child.process().isAlive()).as(child.said()).isTrue();
  }

  @Test
  void two_processes_train_the_adapter_of_one_and_speak_with_one_voice() throws Exception {
    CommandRun alone = CommandRun.of("train", recipe("one", 1, ""));
    assertThat(alone.exitCode()).as(alone.err()).isZero();

    try (Child child = child("train", recipe("two", 2, ""))) {
      assertThat(child.ends()).isTrue();

      String said = child.said();
      assertThat(child.process().exitValue()).as(said).isZero();
      assertThat(said)
          .containsOnlyOnce("adapter: " + folder.resolve("two/adapter_model.safetensors"))
          .containsOnlyOnce("step 8/8")
          .containsOnlyOnce("trainable params")
          .doesNotContain("Gloo");
    }
    assertThat(gap(folder.resolve("two"), folder.resolve("one"))).isLessThan(1e-4);
    assertThat(folder.resolve("two/adapter_config.json"))
        .hasSameTextualContentAs(folder.resolve("one/adapter_config.json"));
  }

  @Test
  void a_process_that_is_killed_ends_the_others_and_the_run_is_resumed() throws Exception {
    String[] longer = {"--set", "training.steps=40"};
    CommandRun alone = CommandRun.of("train", recipe("one", 1, ""), longer[0], longer[1]);
    assertThat(alone.exitCode()).as(alone.err()).isZero();
    String broken = recipe("broken", 2, "");

    List<ProcessHandle> ranks;
    try (Child child = child("train", broken, longer[0], longer[1])) {
      awaitSteps(child, "broken");
      ranks = child.ranks();
      ranks.getLast().destroyForcibly();

      assertThat(child.ends()).as("the run ends").isTrue();
      assertThat(child.process().exitValue()).isEqualTo(1);
      assertThat(child.said())
          .containsOnlyOnce("error: ")
          .contains(
              "error: rank 1 of 2 ended with code 137: was killed by signal 9; the others were"
                  + " ended too");
    }
    assertThat(ranks).hasSize(2).noneMatch(ProcessHandle::isAlive);
    assertThat(folder.resolve("broken/adapter_model.safetensors")).doesNotExist();
    try (Child child = child("train", broken, longer[0], longer[1], "--resume")) {
      assertThat(child.ends()).isTrue();
      assertThat(child.process().exitValue()).as(child.said()).isZero();
    }
    assertThat(gap(folder.resolve("broken"), folder.resolve("one"))).isLessThan(1e-3);
  }

  @Test
  void processes_end_with_the_one_that_started_them() throws Exception {
    try (Child child = child("train", recipe("orphans", 2, ""), "--set", "training.steps=100000")) {
      awaitSteps(child, "orphans");
      List<ProcessHandle> ranks = child.ranks();

      child.process().destroyForcibly();

      assertThat(ranks).hasSize(2);
      for (ProcessHandle rank : ranks) {
        assertThat(rank.onExit().get(60, TimeUnit.SECONDS).isAlive()).isFalse();
      }
    }
  }

  @Test
  void what_is_wrong_with_the_recipe_is_said_once_and_by_its_code() throws Exception {
    try (Child child = child("train", recipe("two", 2, ", use_dora: true"))) {
      assertThat(child.ends()).isTrue();

      assertThat(child.said())
          .containsOnlyOnce("error: ")
          .contains("over 2 ranks, where use_dora does not exist");
      assertThat(child.process().exitValue()).isEqualTo(ErrorReport.WRONG);
    }
  }

  @Test
  void two_processes_measure_what_one_does() throws Exception {
    String[] eval = {
      "eval",
      "--model",
      folder.resolve("model").toString(),
      "--dtype",
      "f32",
      "--threads",
      "1",
      "--data",
      folder.resolve("rows.jsonl").toString(),
      "--max-length",
      "48",
      "--json"
    };
    CommandRun alone = CommandRun.of(eval);
    assertThat(alone.exitCode()).as(alone.err()).isZero();
    var both = new ArrayList<>(List.of(eval));
    both.addAll(List.of("--tensor-parallel", "2"));

    try (Child child = child(both.toArray(String[]::new))) {
      assertThat(child.ends()).isTrue();

      ObjectNode one = (ObjectNode) JsonMapper.shared().readTree(alone.out());
      ObjectNode two = (ObjectNode) JsonMapper.shared().readTree(child.said());
      assertThat(two.get("loss").asDouble()).isCloseTo(one.get("loss").asDouble(), within(1e-5));
      assertThat(two.get("tokens")).isEqualTo(one.get("tokens"));
      assertThat(two.get("token_accuracy")).isEqualTo(one.get("token_accuracy"));
    }
  }

  @Test
  void other_commands_say_who_can_run_such_a_recipe() throws IOException {
    CommandRun run =
        CommandRun.of("compare", recipe("two", 2, ""), "-o", folder.resolve("out").toString());

    assertThat(run.exitCode()).isNotZero();
    assertThat(run.err() + run.out()).contains("training.tensor_parallel is 2 but 1 compute");
  }
}
