package espalier.cli;

import espalier.adapters.AttachOptions;
import espalier.adapters.InitSource;
import espalier.adapters.ModelFacts;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.TensorCache;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.starts.Corda;
import espalier.adapters.lora.starts.Eva;
import espalier.adapters.lora.starts.EvaBatch;
import espalier.adapters.lora.starts.EvaOptions;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.Scope;
import espalier.text.Example;
import espalier.text.ExampleEncoder;
import espalier.training.Batch;
import espalier.training.Dataset;
import espalier.training.Examples;
import espalier.training.Memory;
import espalier.training.OverlongPolicy;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.node.ObjectNode;

/** Starts of LoRA on all linear layers: from the weights alone, or from looking at data. */
final class BenchStarts {

  private static final int EXAMPLES = 32;
  private static final int LONGEST = 96;
  private static final int EVA_ROWS = 4;

  private BenchStarts() {}

  static void measure(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    String kind = spec.path("kind").asString();
    var seconds = new ArrayList<Double>();
    for (int i = 0; i < spec.path("reps").asInt(1); i++) {
      try (PretrainedModel model = inputs.load(spec.path("dtype").asString())) {
        List<Example> examples = examples(inputs, model);
        Memory.resetPeak();
        var config = (LoraConfig) BenchMethods.started(model, kind);
        BenchWorker.share(
            record,
            inputs.threads(),
            () -> seconds.add(Timing.once(() -> start(model, config, examples, record))));
        BenchWorker.memory(record);
      }
    }
    record.set("time", new Timing(seconds).summary());
  }

  private static List<Example> examples(BenchInputs inputs, PretrainedModel model) {
    return Examples.encode(
            Dataset.read(inputs.file("train"), null),
            new ExampleEncoder(model.tokenizer(), false),
            LONGEST,
            OverlongPolicy.TRUNCATE)
        .examples()
        .subList(0, EXAMPLES);
  }

  private static void start(
      PretrainedModel model, LoraConfig config, List<Example> examples, ObjectNode record) {
    ModelFacts facts = model.adapters().facts();
    int padding = model.tokenizer().padId().orElse(0);
    int batches = 0;
    switch (config.init()) {
      case LoraInit.Corda _ -> {
        batches = examples.size();
        Runnable forward =
            () ->
                examples.forEach(
                    example -> forward(model, Batch.padded(List.of(example), padding)));
        long begin = System.nanoTime();
        try (Prepared found =
            Corda.preprocess(model.model(), facts, config, forward, TensorCache.none())) {
          record.put("preprocess_s", (System.nanoTime() - begin) / 1e9);
          attach(model, config, found);
        }
      }
      case LoraInit.Eva eva -> {
        List<EvaBatch> looked = evaBatches(model, eva, examples, padding);
        batches = looked.size();
        try (Prepared found =
            Eva.compute(model.model(), facts, config, looked, EvaOptions.defaults())) {
          attach(
              model, Eva.redistributed(model.model(), facts, config, Eva.components(found)), found);
        }
      }
      default -> model.attach("default", config, 0);
    }
    record.put("calibration_batches", batches);
  }

  private static List<EvaBatch> evaBatches(
      PretrainedModel model, LoraInit.Eva eva, List<Example> examples, int padding) {
    var batches = new ArrayList<EvaBatch>();
    for (int from = 0; from < examples.size(); from += EVA_ROWS) {
      Batch batch =
          Batch.padded(examples.subList(from, Math.min(examples.size(), from + EVA_ROWS)), padding);
      Tensor tokens =
          EvaBatch.tokens(batch.attentionMask(), batch.labels(eva.labelMaskValue()), eva);
      batches.add(new EvaBatch(() -> forward(model, batch), tokens, batch));
    }
    return batches;
  }

  private static void forward(PretrainedModel model, Batch batch) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      model.model().hidden(ModelInputs.of(batch.inputIds()));
    }
  }

  private static void attach(PretrainedModel model, LoraConfig config, Prepared found) {
    InitSource init = InitSource.seeded(0).withPrepared(found.values());
    model.adapters().attach("default", config, AttachOptions.of(init));
  }
}
