package espalier.cli;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.serving.Generator;
import espalier.serving.Prompt;
import espalier.serving.Sampling;
import espalier.training.Memory;
import java.util.ArrayList;
import java.util.List;
import tools.jackson.databind.node.ObjectNode;

/** Greedy decoding with a cache: the base, an adapter, it merged, four adapters in one batch. */
final class BenchGeneration {

  private static final int ADAPTERS = 4;
  private static final double SPREAD = 0.01;

  private BenchGeneration() {}

  static void measure(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    int rows = spec.path("batch").asInt();
    int tokens = spec.path("new_tokens").asInt();
    int reps = spec.path("reps").asInt();
    String kind = spec.path("kind").asString();
    try (PretrainedModel model = inputs.load(spec.path("dtype").asString())) {
      attach(model, kind);
      model.model().train(false);
      Generator generator = GenerateCommand.generator(model);
      var prompts = new ArrayList<Prompt>();
      for (int row = 0; row < rows; row++) {
        Prompt prompt = generator.prompt(inputs.rows("eval").get(row).subList(0, 1));
        prompts.add(kind.equals("mixed") ? prompt.with(name(row)) : prompt);
      }
      long loading = Memory.peakBytes();
      Memory.resetPeak();
      generate(generator, prompts, 4);
      var all = new ArrayList<Double>();
      BenchWorker.share(
          record,
          inputs.threads(),
          () ->
              all.addAll(Timing.of(reps, 0, () -> generate(generator, prompts, tokens)).seconds()));
      var total = new Timing(all);
      Timing first = Timing.of(reps, 0, () -> generate(generator, prompts, 1));
      record.set("total", total.summary());
      record.set("first_token", first.summary());
      record.put("prompt_tokens", prompts.stream().mapToInt(p -> p.ids().length).max().orElse(0));
      record.put("tokens_per_s", rows * tokens / total.min());
      double step = (total.min() - first.min()) / (tokens - 1);
      record.put("decode_ms_per_step", step * 1e3);
      record.put("decode_tokens_per_s", rows / step);
      long since = Memory.peakBytes();
      record.put("peak_mb", BenchWorker.megabytes(Math.max(loading, since)));
      record.put("peak_since_load_mb", BenchWorker.megabytes(since));
    }
  }

  private static void attach(PretrainedModel model, String kind) {
    if (kind.equals("base")) {
      return;
    }
    int count = kind.equals("mixed") ? ADAPTERS : 1;
    for (int i = 0; i < count; i++) {
      model.attach(name(i), BenchMethods.config(model, "lora"), i);
    }
    model.adapters().setActive(List.of(name(0)), true);
    BenchOperations.randomise(model.adapters(), SPREAD);
    if (kind.equals("merged")) {
      model.adapters().mergeAndUnload(false);
    }
  }

  private static String name(int row) {
    return row % ADAPTERS == 0 ? "default" : "a" + row % ADAPTERS;
  }

  private static void generate(Generator generator, List<Prompt> prompts, int tokens) {
    generator.generate(
        prompts, Sampling.greedy().withMaxNewTokens(tokens).withMinNewTokens(tokens));
  }
}
