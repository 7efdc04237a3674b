package espalier.adapters;

import espalier.nn.Embedding;
import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/** Finds the layers and rows that {@code trainable_token_indices} means. */
final class TokenTargets {

  private static final String USUAL = "embed_tokens";

  private final Map<String, Layer> layers;
  private final Function<String, String> nearest;
  private final Tying tying;
  private final Map<String, List<Integer>> found = new LinkedHashMap<>();

  /**
   * Has found nothing yet.
   *
   * @param nearest a clause that says what a name that matches nothing may have meant
   */
  TokenTargets(Map<String, Layer> layers, Tying tying, Function<String, String> nearest) {
    this.layers = layers;
    this.tying = tying;
    this.nearest = nearest;
  }

  /**
   * The rows by path of their layer; those that follow another come after it.
   *
   * @param input path of the model's token embedding, or null
   */
  Map<String, List<Integer>> of(@Nullable TokenRows rows, @Nullable String input) {
    switch (rows) {
      case null -> {}
      case TokenRows.OfInput(var tokens) -> add(input == null ? usual() : input, tokens);
      case TokenRows.OfLayers(var named) ->
          named.forEach((name, tokens) -> meant(name).forEach(path -> add(path, tokens)));
    }
    tying.groups().forEach(this::tie);
    return found;
  }

  private String usual() {
    return layers.keySet().stream()
        .filter(path -> Modules.endsWith(path, USUAL))
        .findFirst()
        .orElseThrow(
            () ->
                new TargetException(
                    "trainable_token_indices is a list but the model has no layer that embeds"
                        + " tokens; name one, such as {\"wte\": [5]}"));
  }

  private List<String> meant(String name) {
    List<String> paths =
        layers.keySet().stream().filter(path -> Modules.endsWith(path, name)).toList();
    if (paths.isEmpty()) {
      throw new TargetException(
          "trainable_token_indices has %s, which matches no layer; %s"
              .formatted(name, nearest.apply(name)));
    }
    return paths;
  }

  private void add(String path, List<Integer> tokens) {
    if (tokens.isEmpty()) {
      return;
    }
    check(path, tokens);
    List<Integer> before = found.putIfAbsent(path, tokens);
    if (before != null && !before.equals(tokens)) {
      throw new ConfigException(
          "trainable_token_indices names %s twice, with %s and %s; give its rows once"
              .formatted(path, before, tokens));
    }
  }

  private void check(String path, List<Integer> tokens) {
    long rows =
        switch (layers.get(path)) {
          case Embedding embedding -> embedding.vocabulary();
          case Linear linear when !linear.transposed() -> linear.out();
          case null, default ->
              throw new UnsupportedAdapterException(
                  "trainable_token_indices names %s, a %s, which has no rows of tokens; name an embedding or an output head"
                      .formatted(path, Objects.requireNonNull(layers.get(path)).typeName()));
        };
    var seen = new HashSet<Integer>();
    for (int token : tokens) {
      if (token < 0 || token >= rows) {
        throw new ConfigException(
            "trainable_token_indices has token %d but %s has %d rows, 0 to %d; add the token to the tokenizer and resize the model first"
                .formatted(token, path, rows, rows - 1));
      }
      if (!seen.add(token)) {
        throw new ConfigException(
            "trainable_token_indices has token %d twice for %s; name each row once"
                .formatted(token, path));
      }
    }
  }

  private void tie(List<String> group) {
    List<String> named = group.stream().filter(found::containsKey).toList();
    if (named.isEmpty()) {
      return;
    }
    String source = group.getFirst();
    List<Integer> tokens = found.get(source);
    List<Integer> first = found.get(named.getFirst());
    boolean alike = named.stream().allMatch(path -> Objects.equals(found.get(path), first));
    if (tying.ensured() && !alike) {
      var rows = new ArrayList<String>();
      named.forEach(path -> rows.add(path + " " + found.get(path)));
      throw new ConfigException(
          "ensure_weight_tying needs the same trainable_token_indices for all layers of one weight, but there are %s; name %s alone, or the same rows in the same order"
              .formatted(String.join(", ", rows), source));
    }
    if (tokens == null) {
      tying.rowsApart(named, source);
    } else if (alike) {
      found.keySet().removeAll(group);
      group.forEach(path -> found.put(path, tokens));
      tying.follow(group);
    }
  }
}
