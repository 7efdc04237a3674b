package espalier.recipes;

import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** A recipe with all that it left out filled in, as the run's folder keeps it. */
final class ResolvedRecipe {

  /** What may change between a run and its resumption without changing the adapter. */
  private static final List<String> FREE =
      List.of("/training/evaluate_every", "/training/save_every", "/training/keep", "/output");

  private ResolvedRecipe() {}

  static String yaml(Recipe recipe) {
    return RecipeFile.write(json(recipe));
  }

  private static ObjectNode json(Recipe recipe) {
    ObjectNode out = JsonNodeFactory.instance.objectNode();
    out.put("model", recipe.model());
    out.put("dtype", recipe.dtype().key());
    out.put("quantize", key(recipe.quantize()));
    out.set("adapter", recipe.adapter().deepCopy());
    if (!recipe.addTokens().isEmpty()) {
      list(out.putArray("add_tokens"), recipe.addTokens());
    }
    DataSection data = recipe.data();
    ObjectNode d = out.putObject("data");
    list(d.putArray("train"), data.train());
    if (!data.eval().isEmpty()) {
      list(d.putArray("eval"), data.eval());
    }
    d.put("eval_fraction", data.evalFraction());
    if (data.format() != null) {
      d.put("format", data.format());
    }
    d.put("train_on", key(data.trainOn()));
    d.put("max_length", data.maxLength());
    d.put("packing", data.packing());
    d.put("overlong", key(data.overlong()));
    d.put("shuffle", data.shuffle());
    if (data.startExamples() > 0) {
      d.put("start_examples", data.startExamples());
    }
    TrainingSection training = recipe.training();
    ObjectNode t = out.putObject("training");
    if (training.steps() > 0) {
      t.put("steps", training.steps());
    } else {
      t.put("epochs", training.epochs());
    }
    t.put("batch_size", training.batchSize());
    t.put("gradient_accumulation", training.gradientAccumulation());
    t.put("learning_rate", training.learningRate());
    t.set("optimizer", training.optimizer().json());
    t.put("schedule", training.schedule());
    t.put("warmup", training.warmup());
    t.put("weight_decay", training.weightDecay());
    t.put("max_grad_norm", training.maxGradNorm());
    t.put("gradient_checkpointing", training.gradientCheckpointing());
    t.put("seed", training.seed());
    t.put("evaluate_every", training.evaluateEvery());
    t.put("save_every", training.saveEvery());
    t.put("keep", training.keep());
    var stopping = training.earlyStopping();
    if (stopping != null) {
      t.putObject("early_stopping")
          .put("patience", stopping.patience())
          .put("min_delta", stopping.minDelta());
    }
    t.put("threads", training.threads());
    if (training.tensorParallel() > 1) {
      t.put("tensor_parallel", training.tensorParallel());
    }
    out.put("output", recipe.output());
    return out;
  }

  private static String key(Enum<?> value) {
    return value.name().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  private static void list(ArrayNode array, List<String> values) {
    values.forEach(array::add);
  }

  static void requireSame(String before, String now) {
    JsonNode was = strip(RecipeFile.tree(before));
    JsonNode is = strip(RecipeFile.tree(now));
    if (!was.equals(is)) {
      throw new RecipeException(
          "the run began with another recipe: %s; resume with the recipe.yaml of the run's folder"
              .formatted(difference("", was, is)));
    }
  }

  private static ObjectNode strip(ObjectNode recipe) {
    for (String pointer : FREE) {
      int cut = pointer.lastIndexOf('/');
      if (recipe.at(pointer.substring(0, cut)) instanceof ObjectNode parent) {
        parent.remove(pointer.substring(cut + 1));
      }
    }
    if (recipe.path("training") instanceof ObjectNode training) {
      // Earlier versions wrote both, and 0 steps for those that are not counted.
      training.remove(training.path("steps").asInt(0) > 0 ? "epochs" : "steps");
    }
    return recipe;
  }

  private static String difference(String path, JsonNode was, JsonNode is) {
    if (was.isObject() && is.isObject()) {
      var names = new LinkedHashSet<>(was.propertyNames());
      names.addAll(is.propertyNames());
      for (String name : names) {
        JsonNode a = was.path(name);
        JsonNode b = is.path(name);
        if (!a.equals(b)) {
          return difference(path.isEmpty() ? name : path + "." + name, a, b);
        }
      }
    }
    return "%s was %s and is %s".formatted(path, shown(was), shown(is));
  }

  private static String shown(JsonNode node) {
    return node.isMissingNode() ? "not there" : node.toString();
  }
}
