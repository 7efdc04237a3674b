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
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import tools.jackson.databind.node.ObjectNode;

/** Exchanging the adapter of a merged model, beside merging one. */
final class BenchSwitching {

  private static final int[] WIDTHS = {2048, 4096};
  private static final int[] RANKS = {8, 16, 32};
  private static final int LORA_RANK = 16;

  private BenchSwitching() {}

  /** A tree of one layer. */
  private static final class Alone extends Layer {
    Alone(Linear layer) {
      child("layer", layer);
    }
  }

  /** One layer of each width, and the whole model. */
  static void measure(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    String dtype = spec.path("dtype").asString();
    int reps = spec.path("reps").asInt(3);
    for (int width : WIDTHS) {
      ObjectNode layer = record.putObject("layer_" + width);
      for (int r : RANKS) {
        layer.set("shira_r" + r + "_switch", layerSwitch(width, r, dtype, reps).summary());
      }
      layer.set("lora_r" + LORA_RANK + "_merge", layerMerge(width, dtype, reps).summary());
    }
    ObjectNode model = record.putObject("model");
    for (int r : RANKS) {
      model.set("shira_r" + r + "_switch", modelSwitch(inputs, r, dtype, reps).summary());
    }
    model.set("lora_r" + LORA_RANK + "_merge", modelMerge(inputs, dtype, reps).summary());
    BenchWorker.memory(record);
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
    var seconds = new java.util.ArrayList<Double>();
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
