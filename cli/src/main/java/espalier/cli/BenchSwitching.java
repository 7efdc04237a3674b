package espalier.cli;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.shira.ShiraConfig;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Init;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.Scope;
import espalier.recipes.BaseDtype;
import java.util.ArrayList;
import java.util.List;
import java.util.function.IntFunction;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import tools.jackson.databind.node.ObjectNode;

/** Exchanging the adapter of a merged model, beside merging one. */
final class BenchSwitching {

  private static final int[] RANKS = {16, 32};
  private static final int LORA_RANK = 16;

  private BenchSwitching() {}

  /** A tree of one layer. */
  private static final class Alone extends Layer {
    Alone(Linear layer) {
      child("layer", layer);
    }
  }

  /** One square layer. */
  static void layer(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    String dtype = spec.path("dtype").asString();
    int width = spec.path("size").asInt();
    int reps = spec.path("reps").asInt(15);
    BenchWorker.share(
        record,
        inputs.threads(),
        () ->
            compare(
                record, r -> layerSwitch(width, r, dtype, reps), layerMerge(width, dtype, reps)));
  }

  /** All linear layers of the model. */
  static void model(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    String dtype = spec.path("dtype").asString();
    int reps = spec.path("reps").asInt(3);
    BenchWorker.share(
        record,
        inputs.threads(),
        () ->
            compare(
                record, r -> modelSwitch(inputs, r, dtype, reps), modelMerge(inputs, dtype, reps)));
    BenchWorker.memory(record);
  }

  private static void compare(ObjectNode record, IntFunction<Timing> shira, Timing lora) {
    record.putObject("lora_r" + LORA_RANK).set("merge", lora.summary());
    for (int r : RANKS) {
      Timing timing = shira.apply(r);
      ObjectNode of = record.putObject("shira_r" + r);
      of.set("switch", timing.summary());
      of.put("lora_merges", lora.min() / timing.min());
    }
  }

  private static ShiraConfig shira(int r, long seed) {
    return ShiraConfig.defaults().withR(r).withRandomSeed(seed).withZeroStart(false);
  }

  private static AdapterConfig lora() {
    return LoraConfig.builder().r(LORA_RANK).alpha(2.0 * LORA_RANK).build();
  }

  /** A layer whose weight nobody else holds, as one of a model is. */
  private static Adapters layer(int width, String dtype) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      ScalarType type = BaseDtype.of(dtype).type();
      Tensor weight = Init.shared(1).normal(0.02, width, width).to(type);
      return Adapters.of(new Alone(new Linear(weight, null)), ModelFacts.of("llama"));
    }
  }

  private static Timing layerSwitch(int width, int r, String dtype, int reps) {
    Adapters adapters = layer(width, dtype);
    try (Layer _ = adapters.model()) {
      return switching(adapters, Targets.named("layer"), r, reps);
    }
  }

  private static Timing modelSwitch(BenchInputs inputs, int r, String dtype, int reps) {
    try (PretrainedModel model = inputs.load(dtype)) {
      return switching(model.adapters(), Targets.allLinear(), r, reps);
    }
  }

  /** Seconds of one switch; each is from the one adapter to the other. */
  private static Timing switching(Adapters adapters, Targets targets, int r, int reps) {
    adapters.attach("one", shira(r, 1).withTargets(targets), 1);
    adapters.add("two", shira(r, 2).withTargets(targets), AttachOptions.seeded(2));
    adapters.model().train(false);
    adapters.switchTo(List.of("one"), false);
    String[] next = {"two", "one"};
    int[] at = {0};
    return Timing.of(2 * reps, 2, () -> adapters.switchTo(List.of(next[at[0]++ % 2]), false));
  }

  private static Timing layerMerge(int width, String dtype, int reps) {
    Adapters adapters = layer(width, dtype);
    try (Layer _ = adapters.model()) {
      return merging(adapters, Targets.named("layer"), reps);
    }
  }

  private static Timing modelMerge(BenchInputs inputs, String dtype, int reps) {
    try (PretrainedModel model = inputs.load(dtype)) {
      return merging(model.adapters(), Targets.allLinear(), reps);
    }
  }

  private static Timing merging(Adapters adapters, Targets targets, int reps) {
    adapters.attach("one", lora().withTargets(targets), 1);
    adapters.model().train(false);
    var seconds = new ArrayList<Double>();
    for (int i = 0; i <= reps; i++) {
      double in = Timing.once(() -> adapters.merge(false));
      adapters.unmerge();
      if (i > 0) { // the first one warms up
        seconds.add(in);
      }
    }
    return new Timing(seconds);
  }
}
