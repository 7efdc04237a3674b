package espalier.checkpoints.pretrained;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.TensorFile;
import espalier.nn.Scope;
import espalier.nn.parallel.GlooCollective;
import espalier.nn.parallel.InProcessCollective;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The files that several ranks write are those that one rank writes. */
class ParallelFilesTest {

  @TempDir private Path folder = Path.of("");

  private Path alone = Path.of("");
  private Path together = Path.of("");

  @BeforeEach
  void train_alone() {
    alone = folder.resolve("alone");
    together = folder.resolve("together");
    RankProcess.train(null, alone);
  }

  private void assertSameFiles() throws IOException {
    for (String file : List.of(AdapterFiles.TENSORS, AdapterFiles.CONFIG)) {
      Path fresh = Path.of("fresh").resolve(file);
      assertThat(Files.mismatch(together.resolve(fresh), alone.resolve(fresh))).isEqualTo(-1);
    }
    double learnt = gap(alone.resolve("fresh"), alone.resolve("trained"));
    assertThat(learnt).isGreaterThan(1e-2);
    assertThat(gap(together.resolve("trained"), alone.resolve("trained"))).isLessThan(1e-5);
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

  @Test
  void two_ranks_in_one_process_write_the_files_of_one() throws IOException {
    InProcessCollective.run(
        2,
        RankProcess.PATIENCE,
        ranks -> {
          RankProcess.train(ranks, together);
          return 0;
        });

    assertSameFiles();
  }

  @Test
  void two_processes_write_the_files_of_one() throws IOException, InterruptedException {
    Path meeting = folder.resolve("meeting");
    Path log = folder.resolve("log");
    Process other =
        new ProcessBuilder(command(meeting))
            .redirectErrorStream(true)
            .redirectOutput(log.toFile())
            .start();
    try {
      try (var ranks = GlooCollective.onThisMachine(meeting, 0, 2, RankProcess.PATIENCE)) {
        RankProcess.train(ranks, together);
      }

      assertThat(other.waitFor(60, TimeUnit.SECONDS)).as("the other process ends").isTrue();
      assertThat(other.exitValue()).as(Files.readString(log)).isZero();
      assertSameFiles();
    } finally {
      other.destroyForcibly();
    }
  }

  private List<String> command(Path meeting) {
    var command = new ArrayList<String>();
    command.add(
        ProcessHandle.current()
            .info()
            .command()
            .orElse(Path.of(System.getProperty("java.home"), "bin", "java").toString()));
    command.addAll(List.of("--enable-native-access=ALL-UNNAMED", "-Xmx256m"));
    System.getProperties()
        .forEach(
            (name, value) -> {
              if (name.toString().startsWith("org.bytedeco.")) {
                command.add("-D%s=%s".formatted(name, value)); // where the natives are unpacked
              }
            });
    command.addAll(List.of("-cp", System.getProperty("java.class.path")));
    command.add(RankProcess.class.getName());
    command.addAll(List.of(meeting.toString(), "1", "2", together.toString()));
    return command;
  }
}
