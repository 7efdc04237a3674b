package espalier.cli;

import espalier.checkpoints.AdapterSource;
import espalier.checkpoints.SafetensorsFile;
import espalier.checkpoints.SafetensorsWriter;
import espalier.checkpoints.TensorFile;
import espalier.models.ModelInputs;
import espalier.nn.Native;
import espalier.nn.Scope;
import espalier.recipes.Quantize;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Runs a model once and writes what it answers, to compare it with another implementation. */
@Command(
    name = "logits",
    description = "Run a model on given token ids and write its logits in float32.")
final class LogitsCommand implements Callable<Integer> {

  private static final List<String> INPUTS =
      List.of("input_ids", "attention_mask", "token_type_ids", "decoder_input_ids");

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Mixin private ModelOption model = new ModelOption();

  @Option(
      names = {"-a", "--adapter"},
      converter = AdapterSourceConverter.class,
      paramLabel = "ADAPTER",
      description = "An adapter's folder, or hub:org/name[/sub/folder][@revision]")
  private @Nullable AdapterSource adapter;

  @Option(
      names = {"-i", "--inputs"},
      required = true,
      paramLabel = "FILE.safetensors",
      description = "input_ids, and attention_mask, token_type_ids, decoder_input_ids perhaps")
  private Path inputs = Path.of("");

  @Option(
      names = {"-o", "--out"},
      required = true,
      paramLabel = "FILE.safetensors",
      description = "Where the logits go; a name that is not taken yet")
  private Path out = Path.of("");

  @Mixin private DtypeOption dtype = new DtypeOption();

  @Mixin private ThreadsOption threads = new ThreadsOption();

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    FreshFile.require("--out", out);
    threads.apply();
    try (TensorFile file = SafetensorsFile.open(inputs);
        var loaded = model.load(dtype.dtype(), Quantize.NONE, output);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      file.entry("input_ids"); // before an adapter is loaded for nothing
      var unread = new TreeSet<>(file.entries().keySet());
      INPUTS.forEach(unread::remove);
      INPUTS.stream().filter(file::contains).forEach(name -> requireWhole(file, name));
      if (!unread.isEmpty()) {
        output.note("not read from %s: %s".formatted(inputs, String.join(", ", unread)));
      }
      if (adapter != null) {
        AdapterOption.load(loaded, adapter.resolve(output::note), output);
      }
      loaded.model().train(false);
      Tensor logits =
          Native.call("the model could not be run", () -> loaded.model().logits(read(file)))
              .to(ScalarType.Float);
      SafetensorsWriter.write(out, Map.of("logits", logits));
      long[] shape = new long[(int) logits.dim()];
      Arrays.setAll(shape, logits::size);
      output.line("logits %s: %s".formatted(Arrays.toString(shape), out));
    }
    return 0;
  }

  /** A fraction would be cut off without a word. */
  private void requireWhole(TensorFile file, String name) {
    String dtype = file.entry(name).dtype();
    if (!dtype.matches("[IU]\\d+|BOOL")) {
      throw new IllegalArgumentException(
          "%s of %s is %s but whole numbers are read there; write it as I64"
              .formatted(name, inputs, dtype));
    }
  }

  private static ModelInputs read(TensorFile file) {
    return new ModelInputs(
        file.tensor("input_ids").to(ScalarType.Long),
        whole(file, "attention_mask"),
        null,
        whole(file, "token_type_ids"),
        null,
        whole(file, "decoder_input_ids"),
        null,
        null);
  }

  private static @Nullable Tensor whole(TensorFile file, String name) {
    return file.contains(name) ? file.tensor(name).to(ScalarType.Long) : null;
  }
}
