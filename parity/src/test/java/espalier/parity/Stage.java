package espalier.parity;

import static org.bytedeco.pytorch.global.torch.ones;
import static org.bytedeco.pytorch.global.torch.randint;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.combine.Combining;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.Model;
import espalier.models.ModelInputs;
import espalier.nn.Layer;
import java.util.List;
import java.util.Objects;
import java.util.function.Supplier;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * What the steps of an error case act on: a model or a layer, and its adapters. They refuse what
 * the reference refuses, also where the library offers more.
 */
final class Stage implements AutoCloseable {

  private final boolean single;
  private final @Nullable Layer model;
  private final @Nullable Adapters adapters;
  private final Supplier<Tensor> forward;
  private final Runnable close;
  private int rows = 3;

  /** Makes ready what the steps need, so that a refusal can only come from a step. */
  Stage(Case golden) {
    single = golden.json().has("layer");
    if (single) {
      var layout = new GoldenLayer(golden.get("layer"));
      Layer layer = layout.drawn();
      Tensor x = layout.drawnInput();
      Box box = layout.box(layer);
      model = box;
      adapters = Adapters.of(box, ModelFacts.of("box")).referenceRefusals(true);
      forward = () -> GoldenLayer.forward(layer, x);
      close = box::close;
    } else if (golden.json().has("model")) {
      PretrainedModel loaded = GoldenModel.load(golden.model());
      Model whole = loaded.model();
      model = whole;
      adapters = loaded.adapters().referenceRefusals(true);
      forward = () -> whole.logits(drawnBatch(whole));
      close = loaded::close;
    } else {
      model = null;
      adapters = null;
      forward =
          () -> {
            throw new AssertionError("the case names neither a layer nor a model to run");
          };
      close = () -> {};
    }
  }

  void play(JsonNode step) {
    switch (step.required("do").asString()) {
      case "config" -> Adapting.given(step.required("config"));
      case "create" -> create(step);
      case "add" ->
          adapters()
              .add(
                  step.required("adapter").asString(),
                  Adapting.given(step.required("config")),
                  AttachOptions.seeded(0));
      case "merge" -> merge(step);
      case "merge_and_unload" -> adapters().mergeAndUnload(step.path("safe").asBoolean(false));
      case "break" -> fillWithNaN();
      case "combine" -> combine(step.required("args"));
      case "set_adapter" -> adapters().setActive(List.of(step.required("adapter").asString()));
      case "forward" -> forward(step);
      case String other -> throw new AssertionError("the step %s is not known".formatted(other));
    }
  }

  private void create(JsonNode step) {
    ObjectNode config = step.required("config").asObject().deepCopy();
    if (single && !config.has("target_modules")) {
      config.putArray("target_modules").add("layer");
    }
    String name = step.path("adapter").asString("default");
    adapters().attach(name, Adapting.given(config), AttachOptions.seeded(0));
  }

  private ModelInputs drawnBatch(Model whole) {
    long[] shape = {rows, 10};
    Tensor ids = randint(4, whole.config().vocabulary(), shape, new TensorOptions(ScalarType.Long));
    return ModelInputs.of(ids, ones(shape, new TensorOptions(ScalarType.Long)));
  }

  private void merge(JsonNode step) {
    boolean safe = step.path("safe").asBoolean(false);
    if (step.has("adapters")) {
      adapters().merge(MixedCase.names(step.required("adapters")), safe);
    } else {
      adapters().merge(safe);
    }
  }

  private void combine(JsonNode args) {
    Combining.add(
        adapters(),
        Combinations.adapters(args),
        Combinations.weights(args),
        args.required("adapter_name").asString(),
        Combinations.of(args));
  }

  private void fillWithNaN() {
    try (var _ = new NoGradGuard()) {
      adapters()
          .on("default")
          .values()
          .forEach(a -> a.state().values().forEach(t -> t.fill_(new Scalar(Double.NaN))));
    }
  }

  private void forward(JsonNode step) {
    Objects.requireNonNull(model).train(step.path("train").asBoolean(false));
    rows = step.path("batch").asInt(3);
    if (step.has("adapter_names")) {
      adapters().mixed(MixedCase.names(step.required("adapter_names")), rows, forward);
    } else {
      Tensor _ = forward.get();
    }
  }

  private Adapters adapters() {
    return Objects.requireNonNull(adapters, "the case names neither a layer nor a model");
  }

  @Override
  public void close() {
    close.run();
  }
}
