package espalier.cli;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.combine.Combination;
import espalier.adapters.combine.CombinationReport;
import espalier.adapters.combine.CombinationType;
import espalier.adapters.combine.Combining;
import espalier.adapters.combine.MajoritySign;
import espalier.adapters.combine.Masks;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.FolderCombination;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.recipes.BaseDtype;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/** Makes one LoRA adapter out of several. */
@Command(
    name = "combine",
    description = "Make one LoRA adapter out of several, and tell how far it is from their sum.",
    footer = {
      "",
      "  espalier combine --adapter law=runs/law:0.7 --adapter style=runs/style:0.3 \\",
      "      --type svd --out runs/both",
      "",
      "cat, and svd of rank enough, give the exact weighted sum."
    })
final class CombineCommand implements Callable<Integer> {

  private static final String COMBINED = "combined_by_espalier";

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Option(
      names = {"-a", "--adapter"},
      required = true,
      converter = WeightedFolder.Converter.class,
      paramLabel = "NAME=DIR:WEIGHT",
      description = "An adapter and the factor on its update, also negative (default 1)")
  private List<WeightedFolder> sources = new ArrayList<>();

  @Option(
      names = {"-t", "--type"},
      paramLabel = "T",
      completionCandidates = Types.class,
      defaultValue = "svd",
      description = "${COMPLETION-CANDIDATES} (default ${DEFAULT-VALUE})")
  private String type = "svd";

  @Option(
      names = "--density",
      paramLabel = "D",
      description = "The part of the entries that a type that prunes keeps, in [0, 1]")
  private @Nullable Double density;

  @Option(
      names = "--majority-sign-method",
      paramLabel = "M",
      defaultValue = "total",
      description = "How TIES elects signs: total or frequency (default ${DEFAULT-VALUE})")
  private String majoritySign = "total";

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
      description = "The model, needed only by PiSSA and its kin, which took factors out of it")
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
    Combination how =
        Combination.of(CombinationType.of(type))
            .withDensity(density)
            .withMajoritySign(MajoritySign.of(majoritySign))
            .withSvdRank(svdRank)
            .withSvdClamp(svdClamp)
            .withAsPlainLora(asPlainLora);
    AdapterCatalog catalog = AdapterCatalog.standard();
    sources.forEach(source -> AdapterFiles.readConfig(source.folder(), catalog));
    CombinationReport report =
        model == null
            ? FolderCombination.run(
                sources.stream()
                    .map(s -> new FolderCombination.Source(s.name(), s.folder(), s.weight()))
                    .toList(),
                how,
                Masks.seeded(seed),
                folder,
                catalog)
            : onModel(output, model, how, folder);
    report.warnings().forEach(output::note);
    write(output, report, folder);
    return 0;
  }

  private void requireDifferentNames() {
    var names = new HashSet<String>();
    for (WeightedFolder source : sources) {
      if (!names.add(source.name())) {
        throw new ParameterException(
            spec.commandLine(),
            "two adapters are called %s; give each its name with NAME=DIR:WEIGHT"
                .formatted(source.name()));
      }
    }
  }

  private CombinationReport onModel(Output output, String name, Combination how, Path folder) {
    try (var loaded = PretrainedModel.load(name, BaseDtype.F32.type(), output::note)) {
      for (WeightedFolder source : sources) {
        loaded.loadAdapter(source.name(), source.folder()).warnings().forEach(output::note);
        // what it took out of the base is given back, or the next one would start from the rest
        loaded.adapters().restoreBase(source.name());
      }
      CombinationReport report =
          Combining.add(
              loaded.adapters(),
              sources.stream().map(WeightedFolder::name).toList(),
              sources.stream().map(WeightedFolder::weight).toList(),
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
