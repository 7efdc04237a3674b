package espalier.recipes;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.training.LossPlot;
import espalier.training.Machine;
import espalier.training.ModelCard;
import espalier.training.Report;
import espalier.training.RunHistory;
import espalier.training.Sample;
import espalier.training.TrainingState;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * What a run leaves to be looked at: a picture of its loss, a page and a model card.
 *
 * @param samples answers to show, before and after
 */
record RunPage(Recipe recipe, PretrainedModel model, RunFolder folder, List<Sample> samples) {

  /** Writes all three in the place of those that are there. */
  void write(int examples, TrainingState end) throws IOException {
    RunHistory history = RunHistory.read(folder.file("metrics.jsonl"));
    String name = String.valueOf(folder.path().toAbsolutePath().getFileName());
    Map<String, String> facts = new LinkedHashMap<>();
    facts.put("model", model.name());
    facts.put("method", model.adapters().config(TrainingRun.ADAPTER).peftType());
    facts.put("parameters", model.adapters().trainableLine());
    facts.put("examples", String.valueOf(examples));
    facts.put("steps", String.valueOf(end.step()));
    history.evals().stream()
        .reduce((_, last) -> last)
        .ifPresent(
            last -> facts.put("evaluation loss", String.format(Locale.ROOT, "%.4f", last.loss())));
    LossPlot.write(history, name, folder.file("loss.png"));
    new Report(name, history, ResolvedRecipe.yaml(recipe), facts, Machine.facts(), samples)
        .write(folder.file("report.html"));
    new ModelCard(
            name,
            model.name(),
            model.adapters().config(TrainingRun.ADAPTER).peftType(),
            "text-generation",
            facts,
            Map.of("Espalier", version()),
            samples)
        .write(folder.path());
  }

  private static String version() {
    String version = TrainingRun.class.getPackage().getImplementationVersion();
    return version == null ? "0.1.0" : version;
  }
}
