package espalier.parity;

import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.adapters.Adapters;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Scope;
import espalier.recipes.LoraPairs;
import espalier.training.AdamRates;
import espalier.training.AdamW;
import espalier.training.Batch;
import espalier.training.Decay;
import espalier.training.LoraFa;
import espalier.training.LoraPlus;
import espalier.training.Optimizer;
import espalier.training.ParameterGroup;
import espalier.training.Schedule;
import espalier.training.Trainer;
import espalier.training.Warmup;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;

/**
 * Some optimizer steps on an adapter: losses, rates, gradient norms, and the adapter after them.
 */
final class TrainCase implements Experiment {

  @Override
  public Outcome run(Case golden) {
    Map<String, Tensor> batches = golden.tensors("batches.safetensors");
    int steps = golden.get("steps").asInt();
    Schedule schedule =
        Schedule.of(
            golden.get("schedule").asString(),
            new Warmup.Steps(golden.get("warmup_steps").asInt()));
    var losses = new float[steps];
    var factors = new float[steps];
    var norms = new float[steps];
    var got = new LinkedHashMap<String, Tensor>();
    try (PretrainedModel model = GoldenModel.load(golden.model())) {
      Adapters adapters = Adapting.load(model, golden.adapters(), true);
      var trainee = new GoldenTrainee(model.model(), adapters, golden.method().equals("adalora"));
      trainee.train(true);
      try (Optimizer optimizer = optimizer(golden.get("optimizer"), adapters)) {
        var trainer = new Trainer(trainee, optimizer, golden.json().path("max_norm").asDouble(0));
        for (int step = 0; step < steps; step++) {
          try (var _ = Scope.graph()) {
            Batch batch = trainee.next(at(step, batches));
            double factor = schedule.factor(step, steps);
            Trainer.Step done = trainer.step(List.of(batch), factor);
            losses[step] = (float) done.loss();
            norms[step] = (float) done.gradNorm();
            factors[step] = (float) factor;
          }
        }
      }
      got.put("losses", tensor(losses).narrow(0, 0, TiedFactors.comparableSteps(golden)));
      got.put("grad_norms", tensor(norms));
      got.put("lr_factors", tensor(factors));
      adapters.state("default").forEach((key, t) -> got.put("after." + key, t.detach()));
    }
    return new Outcome.Tensors(got);
  }

  private static Optimizer optimizer(JsonNode settings, Adapters adapters) {
    double rate = settings.required("lr").asDouble();
    double decay = settings.required("weight_decay").asDouble();
    var rates =
        new AdamRates(
            settings.required("betas").required(0).asDouble(),
            settings.required("betas").required(1).asDouble(),
            settings.required("eps").asDouble());
    Map<String, Tensor> parameters = adapters.parameters();
    var all = new ParameterGroup("all", parameters, rate, decay);
    String name = settings.required("name").asString();
    return switch (name) {
      case "adamw" -> new AdamW(List.of(all), rates, Decay.DECOUPLED);
      case "loraplus" -> {
        double ratio = settings.required("lr_ratio").asDouble();
        double embeddings = settings.path("lr_embedding").asDouble(LoraPlus.EMBEDDING_RATE);
        var plus = new LoraPlus(rate, ratio, embeddings, decay);
        yield new AdamW(plus.groups(parameters), rates, Decay.DECOUPLED);
      }
      case "lorafa" -> new LoraFa(all, LoraPairs.of(adapters), rates, true);
      default -> throw new AssertionError("the optimizer %s is not known".formatted(name));
    };
  }

  /** The batch of one step; the files have the steps as their first dimension. */
  private static Map<String, Tensor> at(int step, Map<String, Tensor> batches) {
    var batch = new LinkedHashMap<String, Tensor>();
    batches.forEach((name, tensor) -> batch.put(name, tensor.select(0, step)));
    return batch;
  }
}
