package espalier.cli;

import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.AdapterSource;
import espalier.checkpoints.ModelSource;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.recipes.AdapterPlan;
import espalier.recipes.BaseDtype;
import espalier.recipes.Recipe;
import espalier.recipes.RecipeFile;
import espalier.recipes.RecipeSchema;
import espalier.recipes.TrainingRun;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ObjectNode;

/** Looks into files, and tells what an adapter or a recipe means for a model. */
@Command(
    name = "inspect",
    description = "Show what lies in a model, an adapter, a GGUF or a safetensors file.",
    footer = {
      "",
      "  espalier inspect runs/my-adapter",
      "  espalier inspect runs/my-adapter --model MODEL --plot norms.png",
      "  espalier inspect --model MODEL --recipe recipe.yaml --explain-targets"
    })
final class InspectCommand implements Callable<Integer> {

  private static final String ADAPTER = "default";

  /** Models are in the top folder of a repository. */
  private static final Pattern IN_SUBFOLDER = Pattern.compile("hub:[^/@]+/[^/@]+/.*");

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Parameters(
      arity = "0..1",
      paramLabel = "PATH",
      description =
          "A model, an adapter's folder, FILE.gguf or FILE.safetensors; or of the hub"
              + " hub:org/name[/sub/folder][@revision]")
  private @Nullable String path;

  @Option(
      names = {"-m", "--model"},
      paramLabel = "MODEL",
      description = "The model that a recipe or an adapter is put on")
  private @Nullable String model;

  @Option(
      names = {"-r", "--recipe"},
      paramLabel = "RECIPE",
      description = "Tell what this recipe would train, without training")
  private @Nullable Path recipe;

  @Mixin private Overrides overrides = new Overrides();

  @Option(
      names = "--explain-targets",
      description = "List each layer that is meant by itself, with its shape and scaling")
  private boolean explain;

  @Option(
      names = "--plot",
      paramLabel = "FILE.png",
      description =
          "Draw the norm and the singular values of the adapter's update by layer; needs --model")
  private @Nullable Path plot;

  @Option(names = "--schema", description = "Print the JSON schema of recipes")
  private boolean schema;

  @Option(names = "--json", description = "Print one JSON object a line")
  private boolean json;

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    if (schema) {
      output.line(RecipeSchema.json().toPrettyString());
      return 0;
    }
    if (recipe != null) {
      plan(output, RecipeFile.read(recipe, overrides.values()));
      return 0;
    }
    if (path == null) {
      throw new ParameterException(
          spec.commandLine(), "nothing to inspect was named; give a PATH, --recipe or --schema");
    }
    if (model == null && plot != null) {
      throw new IllegalArgumentException(
          "--plot needs the model that the adapter is for; add --model");
    }
    if (model != null) {
      Path folder = adapter(path, output);
      if (plot != null) {
        FreshFile.require("--plot", plot, ".png");
      }
      updates(output, model, folder);
    } else {
      Inspection.of(resolved(path, output)).write(output, json);
    }
    return 0;
  }

  private static Path adapter(String path, Output output) {
    Path local = Path.of(path);
    Path folder = Files.exists(local) ? local : AdapterSource.parse(path).resolve(output::note);
    if (!Files.exists(folder.resolve(AdapterFiles.CONFIG))) {
      throw new IllegalArgumentException(
          "%s is no adapter's folder, which --model and --plot are for; name one that holds %s"
              .formatted(path, AdapterFiles.CONFIG));
    }
    return folder;
  }

  private static Path resolved(String path, Output output) {
    Path local = Path.of(path);
    if (path.endsWith(".safetensors") || Files.exists(local.resolve(AdapterFiles.CONFIG))) {
      return local;
    }
    if (IN_SUBFOLDER.matcher(path).matches()) {
      return AdapterSource.parse(path).resolve(output::note);
    }
    ModelSource named = ModelSource.parse(path);
    return named instanceof ModelSource.Folder && !Files.exists(local)
        ? new AdapterSource.Folder(local).resolve(output::note)
        : named.resolve(output::note);
  }

  private void plan(Output output, Recipe read) {
    String base = model == null ? read.model() : model;
    try (var loaded =
        PretrainedModel.load(
            base, read.dtype().type(), read.quantize().quantisation(), output::note)) {
      AdapterPlan.attach(loaded, read, output::note).forEach(output::note);
      List<LayerUpdate> layers = LayerUpdate.of(loaded.adapters(), TrainingRun.ADAPTER);
      output.table(explain ? layers.stream().map(LayerUpdate::row).toList() : kinds(layers), json);
      String line = loaded.adapters().trainableLine();
      if (json) {
        output.json(
            Output.row()
                .put("trainable", line)
                .put("quantize", read.quantize().key())
                .put("quantised_numbers", loaded.quantisedNumbers())
                .put("quantised_bytes", loaded.quantisedBytes()));
        return;
      }
      output.line(line);
      if (loaded.quantisedNumbers() > 0) {
        output.line(
            String.format(
                Locale.ROOT,
                "quantized weights: %s, %,d numbers in %,d bytes (%.2f bits each)",
                read.quantize().key(),
                loaded.quantisedNumbers(),
                loaded.quantisedBytes(),
                8.0 * loaded.quantisedBytes() / loaded.quantisedNumbers()));
      }
    }
  }

  /** Layers of one name in one row each. */
  static List<ObjectNode> kinds(List<LayerUpdate> layers) {
    var kinds = new LinkedHashMap<String, List<LayerUpdate>>();
    layers.forEach(l -> kinds.computeIfAbsent(l.kind(), _ -> new ArrayList<>()).add(l));
    return kinds.entrySet().stream().map(kind -> row(kind.getKey(), kind.getValue())).toList();
  }

  private static ObjectNode row(String kind, List<LayerUpdate> layers) {
    ObjectNode row = Output.row().put("layers", kind).put("count", layers.size());
    var ranks = new TreeMap<String, TreeSet<Integer>>();
    for (LayerUpdate layer : layers) {
      layer
          .ranks()
          .forEach((name, rank) -> ranks.computeIfAbsent(name, _ -> new TreeSet<>()).add(rank));
    }
    ranks.forEach(
        (name, found) -> {
          if (found.size() == 1) {
            row.put(name, found.first());
          } else {
            row.put(name, "%d to %d".formatted(found.first(), found.last()));
          }
        });
    return row.put("parameters", layers.stream().mapToLong(LayerUpdate::parameters).sum());
  }

  private void updates(Output output, String base, Path folder) {
    try (var loaded = PretrainedModel.load(base, BaseDtype.F32.type(), output::note)) {
      loaded.loadAdapter(ADAPTER, folder).warnings().forEach(output::note);
      var rows = new ArrayList<ObjectNode>();
      var points = new ArrayList<NormPlot.Point>();
      for (LayerUpdate layer : LayerUpdate.of(loaded.adapters(), ADAPTER)) {
        double norm = layer.norm();
        ObjectNode row =
            layer
                .row()
                .put("update_norm", norm)
                .put("relative_to_weight", norm / layer.weightNorm());
        if (plot != null) {
          List<Double> spectrum = layer.spectrum();
          points.add(new NormPlot.Point(layer.kind(), layer.block(), norm, spectrum));
          row.put("largest_singular_value", spectrum.isEmpty() ? 0 : spectrum.getFirst());
        }
        rows.add(row);
      }
      output.table(rows, json);
      if (plot != null) {
        NormPlot.write(points, "Update of " + folder.toAbsolutePath().getFileName(), plot);
        output.note("picture: " + plot);
      }
    }
  }
}
