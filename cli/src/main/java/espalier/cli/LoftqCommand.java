package espalier.cli;

import espalier.adapters.Adapters;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.Loftq;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.AdapterSource;
import espalier.checkpoints.OriginalWeights;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Adaptable;
import espalier.nn.FourBit;
import espalier.nn.Linear;
import espalier.recipes.BaseDtype;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Objects;
import java.util.concurrent.Callable;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ObjectNode;

/** Starts an adapter from what quantising its base lost. */
@Command(
    name = "loftq",
    description = "Start a LoRA adapter from what quantising its base lost.",
    footer = {
      "",
      "  espalier loftq --model MODEL.gguf --weights MODEL --adapter DIR --out start",
      "  espalier loftq --model MODEL --nf4 --adapter DIR --out start"
    })
final class LoftqCommand implements Callable<Integer> {

  private static final String ADAPTER = "default";

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Option(
      names = {"-m", "--model"},
      required = true,
      paramLabel = "MODEL",
      description = "The quantised model: FILE.gguf; or any model, with --nf4")
  private String model = "";

  @Option(
      names = {"-w", "--weights"},
      paramLabel = "PATH",
      description =
          "The weights before they were quantised: FILE.safetensors, or a model's folder (default"
              + " the model's own)")
  private @Nullable Path weights;

  @Option(
      names = {"-a", "--adapter"},
      required = true,
      converter = AdapterSourceConverter.class,
      paramLabel = "ADAPTER",
      description =
          "A LoRA adapter's folder, or one with its adapter_config.json alone, or"
              + " hub:org/name[/sub/folder][@revision]")
  private AdapterSource source = new AdapterSource.Folder(Path.of(""));

  @Mixin private OutFolder out = new OutFolder();

  @Option(names = "--nf4", description = "Round the adapter's layers to NF4 first")
  private boolean nf4;

  @Option(names = "--seed", paramLabel = "N", description = "Seed of a new adapter (default 0)")
  private long seed;

  @Option(names = "--json", description = "Print one JSON object a layer")
  private boolean json;

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    Path folder = out.fresh();
    Path adapter = source.resolve(output::note);
    AdapterCatalog.Read read = AdapterFiles.readConfig(adapter, AdapterCatalog.standard());
    try (var loaded = PretrainedModel.load(model, BaseDtype.F32.type(), output::note);
        var originals = weights == null ? loaded.originalWeights() : OriginalWeights.open(weights);
        var _ = new NoGradGuard()) {
      Adapters adapters = loaded.adapters();
      if (Files.exists(adapter.resolve(AdapterFiles.TENSORS))) {
        loaded.loadAdapter(ADAPTER, adapter).warnings().forEach(output::note);
      } else {
        loaded.attach(ADAPTER, read.config(), seed).warnings().forEach(output::note);
      }
      if (nf4) {
        adapters.on(ADAPTER).values().forEach(each -> round(each.layer()));
      }
      Loftq.Replaced replaced = Loftq.replaceWeights(adapters, ADAPTER, originals, _ -> true);
      replaced.warnings().forEach(output::note);
      var rows = new ArrayList<ObjectNode>();
      replaced.accepted().forEach(path -> rows.add(row(adapters, path, originals)));
      output.table(rows, json);
      loaded.saveAdapter(ADAPTER, folder);
    }
    if (json) {
      output.json(Output.row().put("adapter", folder.toString()));
    } else {
      output.line("adapter: " + folder);
    }
    return 0;
  }

  private static void round(Adaptable layer) {
    if (layer instanceof Linear linear) {
      try (var _ = new PointerScope()) {
        linear.rebase(FourBit.NF4.quantise(linear.weight()).dequantise());
      }
    }
  }

  /** What quantising lost of a layer, and what is still lost with the adapter, relative to W. */
  private static ObjectNode row(Adapters adapters, String path, OriginalWeights originals) {
    try (var _ = new PointerScope()) {
      var lora = Objects.requireNonNull(adapters.on(ADAPTER).get(path), path);
      Linear layer = (Linear) lora.layer();
      Tensor stored = originals.apply(path).to(ScalarType.Float);
      Tensor original = layer.transposed() ? stored.t() : stored;
      Tensor lost = original.sub(layer.weight());
      double whole = norm(original);
      return Output.row()
          .put("layer", path)
          .put("lost", norm(lost) / whole)
          .put("lost_with_adapter", norm(lost.sub(lora.deltaWeight())) / whole);
    }
  }

  private static double norm(Tensor tensor) {
    return tensor.square().sum().sqrt().item_double();
  }
}
