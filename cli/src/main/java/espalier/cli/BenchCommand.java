package espalier.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ObjectNode;

/** Measures this program, beside the reference where there is a Python that has it. */
@Command(
    name = "bench",
    description = "Measure speed and memory; with --python beside the reference, by turns.",
    footer = {
      "",
      "Sections: train, checkpointing, ops, combine, switch, init, generate, growth (1 to 64",
      "adapters), packed, start, leak.",
      "Methods: forward, lora, lora_qv, dora, rslora, pissa, olora, hira, gralora, shira, abba;"
          + " each",
      "but forward also as lora_ckpt and so on, with gradient checkpointing."
    })
final class BenchCommand implements Callable<Integer> {

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Option(
      names = {"-m", "--model"},
      required = true,
      paramLabel = "DIR",
      description = "A model's folder in float32")
  private Path f32 = Path.of("");

  @Option(
      names = "--model-bf16",
      required = true,
      paramLabel = "DIR",
      description = "The same model in bfloat16")
  private Path bf16 = Path.of("");

  @Option(
      names = {"-d", "--data"},
      required = true,
      paramLabel = "DIR",
      description = "A folder with wordnet-define.train.jsonl and wordnet-define.eval.jsonl")
  private Path data = Path.of("");

  @Option(
      names = "--sections",
      split = ",",
      paramLabel = "NAME",
      defaultValue = "train,ops,generate,growth,packed,start",
      description = "What is measured (default ${DEFAULT-VALUE})")
  private List<String> sections = new ArrayList<>();

  @Option(
      names = "--methods",
      split = ",",
      paramLabel = "NAME",
      defaultValue = "lora,hira,lora_ckpt",
      description = "Methods of train and ops (default ${DEFAULT-VALUE})")
  private List<String> methods = new ArrayList<>();

  @Option(
      names = "--dtypes",
      split = ",",
      paramLabel = "DTYPE",
      defaultValue = "bf16,f32",
      description = "Dtypes of the model (default ${DEFAULT-VALUE})")
  private List<String> dtypes = new ArrayList<>();

  @Option(
      names = "--shape",
      split = ",",
      paramLabel = "BxT",
      defaultValue = "4x256",
      description = "Batch and length of training steps (default ${DEFAULT-VALUE})")
  private List<String> shapes = new ArrayList<>();

  @Option(
      names = "--reps",
      paramLabel = "N",
      defaultValue = "3",
      description = "Repetitions within a process (default ${DEFAULT-VALUE})")
  private int reps = 3;

  @Option(
      names = "--rounds",
      paramLabel = "N",
      defaultValue = "1",
      description = "How often all is measured, in new processes (default ${DEFAULT-VALUE})")
  private int rounds = 1;

  @Option(
      names = "--threads",
      paramLabel = "N",
      defaultValue = "2",
      description = "Threads of libtorch on both sides (default ${DEFAULT-VALUE})")
  private int threads = 2;

  @Option(
      names = "--timeout",
      paramLabel = "SECONDS",
      defaultValue = "900",
      description = "The most that a measurement may take (default ${DEFAULT-VALUE})")
  private int timeout = 900;

  @Option(
      names = "--python",
      paramLabel = "PATH",
      description = "A Python with the reference's requirements installed")
  private @Nullable Path python;

  @Option(
      names = "--reference",
      paramLabel = "FILE",
      defaultValue = "bench/peft_reference.py",
      description = "The reference's measurements (default ${DEFAULT-VALUE})")
  private Path reference = Path.of("bench/peft_reference.py");

  @Option(
      names = {"-o", "--out"},
      paramLabel = "FILE.jsonl",
      description = "Where each result is added as a line, with its side: ours or reference")
  private @Nullable Path out;

  @Option(names = "--json", description = "Print the table as one JSON object a row")
  private boolean json;

  @Option(names = "--worker", hidden = true)
  private @Nullable String worker;

  @Override
  public Integer call() throws IOException, InterruptedException {
    Output output = Output.of(spec);
    if (worker != null) {
      output.json(BenchWorker.run(new BenchInputs(f32, bf16, data, threads), worker));
      return 0;
    }
    List<ObjectNode> jobs = new BenchPlan(sections, methods, dtypes, shapes, reps).jobs();
    if (rounds < 1 || timeout < 1 || threads < 1) {
      throw new IllegalArgumentException(
          "--rounds is %d, --timeout %d and --threads %d but each must be 1 or more"
              .formatted(rounds, timeout, threads));
    }
    if (python != null && !Files.exists(reference)) {
      throw new IllegalArgumentException(
          "there is no %s, which --python is to run; name it with --reference"
              .formatted(reference));
    }
    var table = new BenchTable();
    boolean failed = false;
    for (int round = 1; round <= rounds; round++) {
      for (int i = 0; i < jobs.size(); i++) {
        ObjectNode job = jobs.get(i);
        output.note(
            "round %d of %d, %d of %d: %s"
                .formatted(round, rounds, i + 1, jobs.size(), BenchTable.work(job)));
        ObjectNode ours = ours(job);
        failed |= kept(output, ours, BenchTable.OURS, round);
        table.add(ours);
        ObjectNode theirs = BenchPlan.reference(job);
        if (python != null && theirs != null) {
          ObjectNode result = theirs(theirs, python);
          failed |= kept(output, result, BenchTable.REFERENCE, round);
          table.add(result);
        }
      }
    }
    output.table(table.rows(), json);
    return failed ? ErrorReport.FAILED : 0;
  }

  private ObjectNode ours(ObjectNode job) throws IOException, InterruptedException {
    return isStart(job) ? starts(job, firstToken(job)) : child(job, worker("bench", job));
  }

  private ObjectNode theirs(ObjectNode job, Path program) throws IOException, InterruptedException {
    List<String> command = worker(List.of(program.toString(), reference.toString()), job);
    return isStart(job) ? starts(job, command) : child(job, command);
  }

  private static boolean isStart(ObjectNode job) {
    return job.path("section").asString().equals("start");
  }

  private List<String> worker(String ours, ObjectNode job) {
    return worker(ThisProgram.command(List.of(ours)), job);
  }

  private List<String> worker(List<String> program, ObjectNode job) {
    var command = new ArrayList<>(program);
    command.addAll(
        List.of(
            "--worker", job.toString(),
            "--model", f32.toString(),
            "--model-bf16", bf16.toString(),
            "--data", data.toString(),
            "--threads", String.valueOf(threads)));
    return command;
  }

  private ObjectNode child(ObjectNode job, List<String> command)
      throws IOException, InterruptedException {
    return BenchChild.measure(job, command, Duration.ofSeconds(timeout));
  }

  private List<String> firstToken(ObjectNode job) {
    String dtype = job.path("dtype").asString();
    return ThisProgram.command(
        List.of(
            "generate",
            "--model",
            new BenchInputs(f32, bf16, data, threads).folder(dtype).toString(),
            "--dtype",
            dtype,
            "--threads",
            String.valueOf(threads),
            "--prompt",
            "hi",
            "--max-new-tokens",
            "1"));
  }

  // What a user waits for: from the start of the process to the end of the first word.
  private ObjectNode starts(ObjectNode job, List<String> command)
      throws IOException, InterruptedException {
    ObjectNode result = job.deepCopy();
    var seconds = new ArrayList<Double>();
    for (int i = 0; i < reps; i++) {
      long start = System.nanoTime();
      BenchChild.Ended ended = BenchChild.run(command, Duration.ofSeconds(timeout));
      seconds.add((System.nanoTime() - start) / 1e9);
      if (ended.code() != 0) {
        return result.put("error", ended.err().strip());
      }
    }
    result.set("total", new Timing(seconds).summary());
    return result;
  }

  /** Keeps a result; true if it is an error. */
  private boolean kept(Output output, ObjectNode result, String side, int round)
      throws IOException {
    result.put("side", side).put("round", round);
    if (out != null) {
      Files.writeString(out, result + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }
    if (result.has("error")) {
      output.note("%s: %s".formatted(side, result.path("error").asString()));
    }
    return result.has("error");
  }
}
