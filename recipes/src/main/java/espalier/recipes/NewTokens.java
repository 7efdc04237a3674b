package espalier.recipes;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.Model;
import espalier.models.NewRows;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.function.Consumer;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** The tokens that a recipe adds to its model: {@code add_tokens}. */
final class NewTokens {

  private static final String ROWS = "trainable_token_indices";
  private static final String MODULES = "modules_to_save";

  private NewTokens() {}

  /**
   * Adds them to the tokenizer and to the embeddings.
   *
   * @param messages told of tokens that were there
   * @return the recipe with an adapter section that trains their rows, in each layer that has some,
   *     except in those that train whole
   * @throws RecipeException if the method can not train rows of an embedding
   */
  static Recipe add(Recipe recipe, PretrainedModel model, Consumer<String> messages) {
    List<String> tokens = recipe.addTokens();
    if (tokens.isEmpty()) {
      return recipe;
    }
    List<String> known =
        tokens.stream().filter(token -> model.tokenizer().id(token).isPresent()).toList();
    if (!known.isEmpty()) {
      messages.accept(
          "add_tokens has %s, which the tokenizer has already; their rows are trained"
              .formatted(String.join(", ", known)));
    }
    List<Integer> ids =
        model.addTokens(tokens, false, NewRows.aroundMean(recipe.training().seed()));
    ObjectNode section = recipe.adapter().deepCopy();
    List<String> layers =
        layers(model.model()).stream()
            .filter(layer -> !names(section.path(MODULES)).stream().anyMatch(n -> means(n, layer)))
            .toList();
    if (!layers.isEmpty()) {
      requireRows(recipe, layers);
      train(section, layers, layers(model.model()).getFirst(), ids);
    }
    return recipe.withAdapter(section);
  }

  /** The layers with a row for each token: the embedding, and a head with a matrix of its own. */
  private static List<String> layers(Model model) {
    var layers = new ArrayList<String>();
    model.inputEmbedding().ifPresent(layers::add);
    model
        .outputHead()
        .filter(head -> layers.isEmpty() || !RecipeRanks.tied(model, layers.getFirst(), head))
        .ifPresent(layers::add);
    return layers;
  }

  private static void requireRows(Recipe recipe, List<String> layers) {
    var config = RecipeAdapter.read(recipe.adapter()).config();
    if (!AdapterCatalog.standard().write(config).has(ROWS)) {
      throw new RecipeException(
          "add_tokens needs rows of %s that train, which %s has not; put the layers into adapter.modules_to_save, or choose LORA"
              .formatted(String.join(" and ", layers), config.peftType()));
    }
  }

  private static void train(
      ObjectNode section, List<String> layers, String input, List<Integer> ids) {
    JsonNode given = section.path(ROWS);
    if (!given.isObject() && layers.equals(List.of(input))) {
      put(section.putArray(ROWS), given, ids);
      return;
    }
    ObjectNode named = given.isObject() ? (ObjectNode) given : section.putObject(ROWS);
    if (given.isArray()) {
      put(named.putArray(input), given, List.of());
    }
    for (String layer : layers) {
      String key =
          named.propertyNames().stream().filter(n -> means(n, layer)).findFirst().orElse(layer);
      JsonNode before = named.path(key);
      put(named.putArray(key), before, ids);
    }
  }

  /** Writes what was there and what is new, each once. */
  private static void put(ArrayNode rows, JsonNode before, List<Integer> ids) {
    var all = new LinkedHashSet<Integer>();
    before.forEach(id -> all.add(id.asInt()));
    all.addAll(ids);
    all.forEach(rows::add);
  }

  private static List<String> names(JsonNode modules) {
    return modules.isArray()
        ? modules.valueStream().map(JsonNode::asString).toList()
        : modules.isString() ? List.of(modules.asString()) : List.of();
  }

  private static boolean means(String name, String layer) {
    return ("." + layer).endsWith("." + name);
  }
}
