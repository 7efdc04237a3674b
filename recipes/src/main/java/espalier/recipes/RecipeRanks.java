package espalier.recipes;

import espalier.adapters.AdapterConfig;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.shira.ShiraConfig;
import espalier.models.Model;
import espalier.nn.Collective;
import espalier.nn.ParallelStyle;
import espalier.nn.parallel.ParallelPlan;
import espalier.training.RunListener;
import java.util.LinkedHashMap;
import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/** How the ranks that compute a recipe's model together go about it. */
final class RecipeRanks {

  private RecipeRanks() {}

  /** Checks that a recipe can be done by those who are there. */
  static void require(Recipe recipe, @Nullable Collective ranks) {
    int asked = recipe.training().tensorParallel();
    int here = ranks == null ? 1 : ranks.size();
    if (asked != here) {
      throw new RecipeException(
          "training.tensor_parallel is %d but %d compute this run; start it with espalier train, which starts as many processes, or set it to %d"
              .formatted(asked, here, here));
    }
    if (ranks == null) {
      return;
    }
    if (recipe.quantize() != Quantize.NONE) {
      throw new UnsupportedAdapterException(
          "quantize is %s but with training.tensor_parallel %d layers are split, which does not exist for quantised weights; set quantize to none, or tensor_parallel to 1"
              .formatted(recipe.quantize().key(), asked));
    }
    OptimizerType optimizer = recipe.training().optimizer().type();
    OptimizerType stepper = recipe.training().optimizer().stepper();
    OptimizerType whole = elementwise(optimizer) ? stepper : optimizer;
    if (!elementwise(whole)) {
      throw new RecipeException(
          "training.optimizer is %s, which has to see whole tensors, but with training.tensor_parallel %d each process has a part; choose adamw, adam, sgd or lora-plus, or set tensor_parallel to 1"
              .formatted(whole.key(), asked));
    }
  }

  private static boolean elementwise(OptimizerType type) {
    return switch (type) {
      case ADAM, ADAMW, SGD, LORA_PLUS -> true;
      case ADAM8BIT, ADAMW8BIT, PAGED_ADAM8BIT, PAGED_ADAMW8BIT, LORA_FA, RIEMANNIAN -> false;
    };
  }

  /** Refuses a start that looks at the recipe's data, which needs whole weights. */
  static void requireWithoutData(AdapterConfig config, Recipe recipe, @Nullable Collective ranks) {
    if (ranks == null || !DataStart.needed(config)) {
      return;
    }
    String field = config instanceof ShiraConfig ? "mask_type" : "init_lora_weights";
    JsonNode start = recipe.adapter().get(field);
    throw new UnsupportedAdapterException(
        "%s starts from data, which needs whole weights, but with training.tensor_parallel %d each process has a part; choose another start, or set tensor_parallel to 1"
            .formatted(
                start == null ? config.peftType() : field + " " + start.asString(), ranks.size()));
  }

  /** The threads of libtorch that this process is to have, or 0 for its own choice. */
  static int threads(Recipe recipe, @Nullable Collective ranks) {
    int asked = recipe.training().threads();
    return asked > 0 || ranks == null ? asked : ranks.shareOfCores();
  }

  /**
   * Splits a model by its usual plan. Where the head is the embedding, that is split along the
   * vocabulary too, so that they go on sharing one weight; where rows of single tokens train, both
   * stay whole.
   */
  static void split(Model model, Recipe recipe, Collective ranks) {
    var styles = new LinkedHashMap<>(model.parallelPlan(ranks.size()).styles());
    String head = model.outputHead().orElse("");
    if (recipe.adapter().hasNonNull("trainable_token_indices")) {
      styles.remove(head);
    } else if (styles.containsKey(head)) {
      model
          .inputEmbedding()
          .filter(embedding -> tied(model, embedding, head))
          .ifPresent(embedding -> styles.put(embedding, ParallelStyle.EMBEDDING_ROW));
    }
    new ParallelPlan(styles).apply(model, ranks);
  }

  /** Whether two layers are one weight. */
  static boolean tied(Model model, String embedding, String head) {
    var both = List.of(embedding + ".weight", head + ".weight");
    return model.tiedWeights().stream().anyMatch(set -> set.containsAll(both));
  }

  /** Whether this process is the one that writes and tells. */
  static boolean leads(@Nullable Collective ranks) {
    return ranks == null || ranks.rank() == 0;
  }

  /** The listener, or one that hears nothing where another rank tells. */
  static RunListener heard(RunListener listener, @Nullable Collective ranks) {
    return leads(ranks) ? listener : new RunListener() {};
  }
}
