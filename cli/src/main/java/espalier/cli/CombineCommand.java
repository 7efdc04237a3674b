package espalier.cli;

import espalier.adapters.AdapterConfig;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.combine.Combination;
import espalier.adapters.combine.CombinationReport;
import espalier.adapters.combine.CombinationType;
import espalier.adapters.combine.Combining;
import espalier.adapters.combine.MajoritySign;
import espalier.adapters.combine.Masks;
import espalier.adapters.hirasb.HiraSbCombination;
import espalier.adapters.hirasb.HiraSbConfig;
import espalier.adapters.shira.Fusion;
import espalier.adapters.shira.Overlap;
import espalier.adapters.shira.ShiraConfig;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.FolderCombination;
import espalier.checkpoints.HiraSbFolders;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.recipes.BaseDtype;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ObjectNode;

/** Makes one adapter out of several of a method. */
@Command(
    name = "combine",
    description =
        "Make one LoRA adapter out of several, and tell how far it is from their sum; or one of"
            + " SHiRA or HiRA-SB, which is their exact sum.",
    footer = {
      "",
      "  espalier combine --adapter law=runs/law:0.7 --adapter style=runs/style:0.3 \\",
      "      --type svd --out runs/both",
      "",
      "cat, and svd of rank enough, give the exact weighted sum.",
      "Adapters of HIRA_SB in the same bases stay HIRA_SB (linear), others become HIRA (cat).",
      "Adapters of SHIRA become one of all their entries; that needs --model."
    })
final class CombineCommand implements Callable<Integer> {

  private static final String COMBINED = "combined_by_espalier";

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Option(
      names = {"-a", "--adapter"},
      required = true,
      converter = WeightedSource.Converter.class,
      paramLabel = "NAME=ADAPTER:WEIGHT",
      description =
          "An adapter's folder, or hub:org/name[/sub/folder][@revision], and the factor on its"
              + " update, also negative (default 1)")
  private List<WeightedSource> named = new ArrayList<>();

  private List<FolderCombination.Source> sources = List.of();

  @Option(
      names = {"-t", "--type"},
      paramLabel = "T",
      completionCandidates = Types.class,
      description =
          "${COMPLETION-CANDIDATES} (default svd; for HIRA_SB linear where the bases are the same,"
              + " otherwise cat)")
  private @Nullable String type;

  @Option(
      names = "--density",
      paramLabel = "D",
      description = "The part of the entries that a type that prunes keeps, in [0, 1]")
  private @Nullable Double density;

  @Option(
      names = "--majority-sign-method",
      paramLabel = "M",
      description = "How TIES elects signs: total or frequency (default total)")
  private @Nullable String majoritySign;

  @Option(
      names = "--svd-rank",
      paramLabel = "R",
      description = "Rank of a type that decomposes (default: the largest of the adapters)")
  private @Nullable Integer svdRank;

  @Option(
      names = "--svd-clamp",
      paramLabel = "Q",
      description = "Quantile, in [0, 1], beyond which entries of the decomposition are clamped")
  private @Nullable Double svdClamp;

  @Option(
      names = "--as-plain-lora",
      description = "Take VeLoRA and MonteCLoRA, whose update is the plain one, as LoRA")
  private boolean asPlainLora;

  @Option(
      names = "--seed",
      paramLabel = "N",
      description = "Seed of what DARE drops (default ${DEFAULT-VALUE})")
  private long seed;

  @Option(
      names = {"-m", "--model"},
      paramLabel = "MODEL",
      description =
          "The model, needed only by SHiRA, and by PiSSA and its kin, which took factors out of it")
  private @Nullable String model;

  @Mixin private OutFolder out = new OutFolder();

  @Option(names = "--json", description = "Print one JSON object a line")
  private boolean json;

  /** The words of {@code --type}. */
  static final class Types implements Iterable<String> {
    @Override
    public Iterator<String> iterator() {
      return Arrays.asList(CombinationType.words()).iterator();
    }
  }

  @Override
  public Integer call() {
    Output output = Output.of(spec);
    Path folder = out.fresh();
    requireDifferentNames();
    sources = named.stream().map(source -> source.fetched(output::note)).toList();
    AdapterCatalog catalog = AdapterCatalog.standard();
    List<AdapterConfig> configs =
        sources.stream()
            .map(source -> AdapterFiles.readConfig(source.folder(), catalog).config())
            .toList();
    if (configs.stream().allMatch(HiraSbConfig.class::isInstance)) {
      hirasb(output, folder, catalog);
    } else if (configs.stream().allMatch(ShiraConfig.class::isInstance)) {
      shira(output, folder);
    } else {
      lora(output, folder, catalog);
    }
    return 0;
  }

  private void hirasb(Output output, Path folder, AdapterCatalog catalog) {
    refuseLoraOptions("HIRA_SB");
    AdapterConfig made =
        HiraSbFolders.run(
            sources,
            switch (type) {
              case null -> HiraSbCombination::of;
              case "linear" -> HiraSbCombination::inSameBases;
              case "cat" -> HiraSbCombination::asHira;
              default ->
                  throw usage(
                      "--type is %s but adapters of HIRA_SB are combined by linear, in the same bases, or by cat, as HIRA"
                          .formatted(type));
            },
            folder,
            catalog);
    exact(output, made, folder);
  }

  private void shira(Output output, Path folder) {
    refuseLoraOptions("SHIRA");
    if (type != null) {
      throw usage("--type is for LoRA; adapters of SHIRA are fused in one way, so leave it out");
    }
    if (model == null) {
      throw usage("adapters of SHIRA are fused on their model; add --model");
    }
    try (var loaded = PretrainedModel.load(model, BaseDtype.F32.type(), output::note)) {
      var weights = new LinkedHashMap<String, Double>();
      for (FolderCombination.Source source : sources) {
        loaded.loadAdapter(source.name(), source.folder()).warnings().forEach(output::note);
        weights.put(source.name(), source.weight());
      }
      Fusion fusion = Fusion.of(loaded.adapters(), weights);
      output.table(fusion.overlaps().stream().map(CombineCommand::row).toList(), json);
      fusion.attachAs(COMBINED).warnings().forEach(output::note);
      loaded.saveAdapter(COMBINED, folder);
      exact(output, loaded.adapters().config(COMBINED), folder);
    }
  }

  private static ObjectNode row(Overlap overlap) {
    return Output.row()
        .put("layer", overlap.path())
        .put("adapter", overlap.first())
        .put("other", overlap.second())
        .put("common_entries", overlap.common())
        .put("interference", overlap.interference());
  }

  private void exact(Output output, AdapterConfig made, Path folder) {
    if (json) {
      output.json(Output.row().put("peft_type", made.peftType()).put("adapter", folder.toString()));
      return;
    }
    output.line("the exact weighted sum, as " + made.peftType());
    output.line("adapter: " + folder);
  }

  private void refuseLoraOptions(String method) {
    var given = new ArrayList<String>();
    if (density != null) {
      given.add("--density");
    }
    if (majoritySign != null) {
      given.add("--majority-sign-method");
    }
    if (svdRank != null) {
      given.add("--svd-rank");
    }
    if (svdClamp != null) {
      given.add("--svd-clamp");
    }
    if (asPlainLora) {
      given.add("--as-plain-lora");
    }
    if (!given.isEmpty()) {
      throw usage(
          "%s is for LoRA but the adapters are of %s; leave it out"
              .formatted(String.join(", ", given), method));
    }
  }

  private ParameterException usage(String message) {
    return new ParameterException(spec.commandLine(), message);
  }

  private void lora(Output output, Path folder, AdapterCatalog catalog) {
    Combination how =
        Combination.of(CombinationType.of(type == null ? "svd" : type))
            .withDensity(density)
            .withMajoritySign(MajoritySign.of(majoritySign == null ? "total" : majoritySign))
            .withSvdRank(svdRank)
            .withSvdClamp(svdClamp)
            .withAsPlainLora(asPlainLora);
    CombinationReport report =
        model == null
            ? FolderCombination.run(sources, how, Masks.seeded(seed), folder, catalog)
            : onModel(output, model, how, folder);
    report.warnings().forEach(output::note);
    write(output, report, folder);
  }

  private void requireDifferentNames() {
    var names = new HashSet<String>();
    for (WeightedSource source : named) {
      if (!names.add(source.name())) {
        throw usage(
            "two adapters are called %s; give each its name with NAME=DIR:WEIGHT"
                .formatted(source.name()));
      }
    }
  }

  private CombinationReport onModel(Output output, String name, Combination how, Path folder) {
    try (var loaded = PretrainedModel.load(name, BaseDtype.F32.type(), output::note)) {
      loaded.adapters().allowMixedMethods(); // whether they combine is not the model's question
      for (FolderCombination.Source source : sources) {
        loaded.loadAdapter(source.name(), source.folder()).warnings().forEach(output::note);
        // what it took out of the base is given back, or the next one would start from the rest
        loaded.adapters().restoreBase(source.name());
      }
      CombinationReport report =
          Combining.add(
              loaded.adapters(),
              sources.stream().map(FolderCombination.Source::name).toList(),
              sources.stream().map(FolderCombination.Source::weight).toList(),
              COMBINED,
              how,
              Masks.seeded(seed));
      loaded.saveAdapter(COMBINED, folder);
      return report;
    }
  }

  private void write(Output output, CombinationReport report, Path folder) {
    output.table(
        report.errors().entrySet().stream()
            .map(
                error ->
                    Output.row()
                        .put("layer", error.getKey())
                        .put("relative_error", error.getValue()))
            .toList(),
        json);
    if (json) {
      output.json(
          Output.row()
              .put("type", report.type().word())
              .put("r", report.rank())
              .put("largest_relative_error", report.largestError())
              .put("adapter", folder.toString()));
      return;
    }
    output.line("type %s, rank %d".formatted(report.type().word(), report.rank()));
    output.line("relative error against the exact sum: %.3g".formatted(report.largestError()));
    output.line("adapter: " + folder);
  }
}
