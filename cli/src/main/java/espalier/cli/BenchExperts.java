package espalier.cli;

import static org.bytedeco.pytorch.global.torch.linear;

import espalier.adapters.Adapters;
import espalier.adapters.ModelFacts;
import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Adapter;
import espalier.nn.ExpertWeight;
import espalier.nn.Init;
import espalier.nn.Layer;
import espalier.nn.Scope;
import espalier.recipes.BaseDtype;
import java.util.List;
import java.util.Objects;
import java.util.function.IntFunction;
import java.util.stream.IntStream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import tools.jackson.databind.node.ObjectNode;

/**
 * LoRA on a stacked parameter of experts: only the experts that tokens were sent to, beside adding
 * the change of every expert to the parameter first.
 */
final class BenchExperts {

  private static final int EXPERTS = 32;
  private static final int OUT = 1536;
  private static final int IN = 576;
  private static final int RANK = 16;
  private static final int WARM_UP = 2;

  private BenchExperts() {}

  /** A tree of one parameter. */
  private static final class Alone extends Layer {
    Alone(ExpertWeight experts) {
      child("experts", new Holder(experts));
    }
  }

  private static final class Holder extends Layer {
    Holder(ExpertWeight experts) {
      child("up_proj", experts);
    }
  }

  /** Forward passes for as many tokens as are wanted, spread over as many experts. */
  static void measure(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    int routed = spec.path("routed").asInt();
    int tokens = spec.path("tokens").asInt();
    int reps = spec.path("reps").asInt();
    ScalarType dtype = BaseDtype.of(spec.path("dtype").asString()).type();
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Init init = Init.shared(1);
      var layer = new ExpertWeight(init.normal(0.02, EXPERTS, OUT, IN).to(dtype), false);
      try (Layer tree = new Alone(layer)) {
        Adapter adapter = attached(tree);
        List<Tensor> sent =
            IntStream.range(0, routed)
                .mapToObj(_ -> init.normal(1, tokens / routed, IN).to(dtype))
                .toList();
        IntFunction<Tensor> alone = expert -> layer.forward(sent.get(expert), expert);
        BenchWorker.share(
            record,
            inputs.threads(),
            () -> {
              Timing one = Timing.of(reps, WARM_UP, () -> each(routed, alone));
              Timing all = Timing.of(reps, WARM_UP, () -> every(routed, layer, adapter, sent));
              record.set("routed_only", one.summary());
              record.set("every_delta", all.summary());
              record.put("times_faster", all.min() / one.min());
            });
        record.put("gap", gap(routed, alone, summed(layer, adapter, sent)));
      }
    }
  }

  private static Adapter attached(Layer tree) {
    Adapters adapters = Adapters.of(tree, ModelFacts.of("mixtral"));
    adapters.attach(
        "default",
        LoraConfig.builder()
            .r(RANK)
            .alpha(RANK)
            .targets(Targets.named().withParameters(List.of("experts.up_proj")))
            .build(),
        1);
    Adapter adapter = Objects.requireNonNull(adapters.on("default").get("experts.up_proj"));
    Init init = Init.shared(2);
    adapter.parameters().values().forEach(p -> p.add_(init.normal(0.02, p.shape())));
    return adapter;
  }

  /** What an expert computes from the parameter with the change of all experts in it. */
  private static IntFunction<Tensor> summed(
      ExpertWeight layer, Adapter adapter, List<Tensor> sent) {
    Tensor merged = adapter.mergedInto(layer.weight());
    return expert -> linear(sent.get(expert), layer.one(merged, expert));
  }

  private static void each(int routed, IntFunction<Tensor> forward) {
    try (var _ = Scope.open()) {
      for (int expert = 0; expert < routed; expert++) {
        Tensor _ = forward.apply(expert);
      }
    }
  }

  private static void every(int routed, ExpertWeight layer, Adapter adapter, List<Tensor> sent) {
    try (var _ = Scope.open()) {
      each(routed, summed(layer, adapter, sent));
    }
  }

  /** The largest difference of two outputs, relative to the largest output. */
  private static double gap(int routed, IntFunction<Tensor> one, IntFunction<Tensor> other) {
    double gap = 0;
    for (int expert = 0; expert < routed; expert++) {
      Tensor wanted = other.apply(expert).to(ScalarType.Float);
      Tensor difference = one.apply(expert).to(ScalarType.Float).sub(wanted);
      gap = Math.max(gap, difference.abs().max().item_double() / wanted.abs().max().item_double());
    }
    return gap;
  }
}
