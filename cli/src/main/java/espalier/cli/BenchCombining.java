package espalier.cli;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.combine.Combination;
import espalier.adapters.combine.CombinationReport;
import espalier.adapters.combine.CombinationType;
import espalier.adapters.combine.Combining;
import espalier.checkpoints.pretrained.PretrainedModel;
import java.util.List;
import tools.jackson.databind.node.ObjectNode;

/** One adapter out of two, by every way there is. */
final class BenchCombining {

  private static final double DENSITY = 0.5;
  private static final double SPREAD = 0.02;
  private static final List<String> SOURCES = List.of("default", "second");
  private static final List<Double> WEIGHTS = List.of(0.7, 0.3);

  private BenchCombining() {}

  static void measure(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    try (PretrainedModel model = inputs.load(spec.path("dtype").asString())) {
      model.attach("default", BenchMethods.config(model, "lora"), 0);
      model.adapters().add("second", BenchMethods.config(model, "lora"), AttachOptions.seeded(1));
      BenchOperations.randomise(model.adapters(), SPREAD);
      ObjectNode seconds = record.putObject("add_weighted_adapter");
      ObjectNode errors = record.putObject("largest_error");
      for (CombinationType type : CombinationType.values()) {
        combine(model.adapters(), type, seconds, errors);
      }
      BenchWorker.memory(record);
    }
  }

  private static void combine(
      Adapters adapters, CombinationType type, ObjectNode seconds, ObjectNode errors) {
    Combination how =
        switch (type) {
          case LINEAR, CAT, SVD -> Combination.of(type);
          default -> Combination.of(type, DENSITY);
        };
    String name = "mix_" + type.word();
    long start = System.nanoTime();
    CombinationReport report = Combining.add(adapters, SOURCES, WEIGHTS, name, how);
    seconds.put(type.word(), Math.round((System.nanoTime() - start) / 1e6) / 1e3);
    errors.put(type.word(), report.largestError());
    adapters.delete(name);
  }
}
