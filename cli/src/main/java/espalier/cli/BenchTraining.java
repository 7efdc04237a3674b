package espalier.cli;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Scope;
import espalier.recipes.CausalTrainee;
import espalier.recipes.LoraPairs;
import espalier.text.Example;
import espalier.text.ExampleEncoder;
import espalier.text.Tokenizer;
import espalier.training.AdamW;
import espalier.training.Batch;
import espalier.training.Dataset;
import espalier.training.Examples;
import espalier.training.LoraFa;
import espalier.training.Memory;
import espalier.training.Optimizer;
import espalier.training.OverlongPolicy;
import espalier.training.ParameterGroup;
import espalier.training.Trainer;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** Training steps: their time, their memory, and whether memory stays flat. */
final class BenchTraining {

  private static final int PACKED_ROW = 256;
  private static final int STEPS_BETWEEN_LOOKS = 50;
  private static final double DECAY = 0.01; // what the reference's AdamW has unless told otherwise

  private BenchTraining() {}

  /** Steps on a block of tokens, after one to warm up; method {@code forward} has no gradients. */
  static void steps(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    int rows = spec.path("batch").asInt();
    int length = spec.path("seq").asInt();
    int reps = spec.path("reps").asInt();
    String method = spec.path("method").asString();
    try (PretrainedModel model = inputs.load(spec.path("dtype").asString())) {
      Batch batch = inputs.block(model.tokenizer(), rows, length);
      BenchMethods.put(model, method);
      var trainee = new CausalTrainee(model.model(), model.adapters());
      record.put("trainable_params", count(trainee));
      record.put("quantised_mb", BenchWorker.megabytes(model.quantisedBytes()));
      record.put("after_load_mb", BenchWorker.megabytes(Memory.residentBytes()));
      long loading = Memory.peakBytes();
      Memory.resetPeak();
      var times = new ArrayList<Double>();
      if (method.equals("forward")) {
        model.model().train(false);
        Runnable pass = () -> loss(trainee, batch);
        pass.run();
        BenchWorker.share(
            record, inputs.threads(), () -> times.addAll(Timing.of(reps, 0, pass).seconds()));
      } else {
        model.model().train(true);
        try (Optimizer optimizer =
            BenchMethods.freezesA(method)
                ? frozenA(trainee, model)
                : optimizer(trainee, 1e-4, DECAY)) {
          var trainer = new Trainer(trainee, optimizer, 0);
          record.put("loss_first", trainer.step(List.of(batch), 1).loss());
          BenchWorker.share(
              record,
              inputs.threads(),
              () -> {
                for (int i = 0; i < reps; i++) {
                  times.add(
                      Timing.once(
                          () -> record.put("loss_last", trainer.step(List.of(batch), 1).loss())));
                }
              });
        }
      }
      var step = new Timing(times);
      record.set("step", step.summary());
      record.put("tokens_per_s", Math.round(10.0 * rows * length / step.min()) / 10.0);
      peaks(record, loading);
    }
  }

  // The whole process's peak is what counts against us; since loading is what the reference counts.
  private static void peaks(ObjectNode record, long loading) {
    long since = Memory.peakBytes();
    record.put("peak_mb", BenchWorker.megabytes(Math.max(loading, since)));
    record.put("peak_since_load_mb", BenchWorker.megabytes(since));
    record.put("rss_after_mb", BenchWorker.megabytes(Memory.residentBytes()));
  }

  private static long count(CausalTrainee trainee) {
    return trainee.parameters().values().stream().mapToLong(Tensor::numel).sum();
  }

  private static AdamW optimizer(CausalTrainee trainee, double rate, double decay) {
    return new AdamW(List.of(new ParameterGroup("adapter", trainee.parameters(), rate, decay)));
  }

  private static LoraFa frozenA(CausalTrainee trainee, PretrainedModel model) {
    return new LoraFa(
        new ParameterGroup("adapter", trainee.parameters(), 1e-4, DECAY),
        LoraPairs.of(model.adapters()),
        LoraFa.RATES,
        true);
  }

  private static double loss(CausalTrainee trainee, Batch batch) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      return trainee.lossSum(batch).item_double() / batch.tokens();
    }
  }

  /** Resident memory over many small steps. */
  static void leak(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    try (PretrainedModel model = inputs.load(spec.path("dtype").asString())) {
      Batch batch =
          inputs.block(model.tokenizer(), spec.path("batch").asInt(), spec.path("seq").asInt());
      BenchMethods.put(model, spec.path("method").asString());
      model.model().train(true);
      var trainee = new CausalTrainee(model.model(), model.adapters());
      ArrayNode looks = record.putArray("rss_mb_by_step");
      try (AdamW optimizer = optimizer(trainee, 1e-4, DECAY)) {
        var trainer = new Trainer(trainee, optimizer, 0);
        for (int step = 1; step <= spec.path("steps").asInt(); step++) {
          record.put("loss_last", trainer.step(List.of(batch), 1).loss());
          if (step % STEPS_BETWEEN_LOOKS == 0) {
            looks
                .addObject()
                .put("step", step)
                .put("rss_mb", BenchWorker.megabytes(Memory.residentBytes()));
          }
        }
      }
      record.put("peak_mb", BenchWorker.megabytes(Memory.peakBytes()));
    }
  }

  /** Steps over real conversations in file order, several to a row; only answers are learned. */
  static void packed(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    int steps = spec.path("steps").asInt();
    int size = spec.path("batch").asInt();
    int longest = spec.path("max_len").asInt();
    try (PretrainedModel model = inputs.load(spec.path("dtype").asString())) {
      Tokenizer tokenizer = model.tokenizer();
      List<Example> examples =
          Examples.encode(
                  Dataset.read(inputs.file("train"), null),
                  new ExampleEncoder(tokenizer, false),
                  longest,
                  OverlongPolicy.TRUNCATE)
              .examples();
      BenchMethods.put(model, spec.path("method").asString());
      model.model().train(true);
      var trainee = new CausalTrainee(model.model(), model.adapters());
      record.put("trainable_params", count(trainee));
      long loading = Memory.peakBytes();
      Memory.resetPeak();
      int padding = tokenizer.padId().orElse(tokenizer.eosId().orElse(0));
      var counts = new long[2];
      try (AdamW optimizer = optimizer(trainee, spec.path("lr").asDouble(), 0)) {
        var trainer = new Trainer(trainee, optimizer, 1);
        var seconds = new ArrayList<Double>();
        BenchWorker.share(
            record,
            inputs.threads(),
            () -> {
              for (int step = 0; step < steps; step++) {
                var some = new ArrayList<Example>();
                for (int i = 0; i < size; i++) {
                  some.add(examples.get((step * size + i) % examples.size()));
                }
                seconds.add(
                    Timing.once(
                        () -> {
                          Batch batch = Batch.sharing(some, PACKED_ROW, padding);
                          counts[0] += batch.realTokens();
                          counts[1] += batch.tokens();
                          record.put("loss_last", trainer.step(List.of(batch), 1).loss());
                        }));
              }
            });
        double all = seconds.stream().mapToDouble(Double::doubleValue).sum();
        record.set("step", new Timing(seconds).summary());
        record.put("train_s", all);
        record.put("step_s", all / steps);
        record.put("real_tokens_per_s", counts[0] / all);
        record.put("labelled_tokens_per_s", counts[1] / all);
      }
      peaks(record, loading);
    }
  }
}
