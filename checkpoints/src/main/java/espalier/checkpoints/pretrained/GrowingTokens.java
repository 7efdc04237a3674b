package espalier.checkpoints.pretrained;

import espalier.adapters.LoadResult;
import espalier.adapters.TokenRows;
import espalier.checkpoints.CheckpointException;
import espalier.models.Model;
import espalier.models.NewRows;
import espalier.nn.Collective;
import espalier.text.Tokenizer;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The tokens that a model knows, its tokenizer and the rows of its embeddings, to which others may
 * be added.
 */
final class GrowingTokens {

  private final String name;
  private final Model model;
  private ModelParts parts;
  private boolean added;

  GrowingTokens(String name, ModelParts parts) {
    this.name = name;
    this.parts = parts;
    model = parts.model();
  }

  /** What the model is made of, with the tokenizer that it has now. */
  ModelParts parts() {
    return parts;
  }

  Tokenizer tokenizer() {
    Tokenizer tokenizer = parts.tokenizer();
    if (tokenizer == null) {
      throw new CheckpointException(
          "%s has no tokenizer.json, which is needed to read and write text; put it into the folder"
              .formatted(name));
    }
    return tokenizer;
  }

  /** Adds tokens and returns their ids; the former tokenizer is closed. */
  List<Integer> add(List<String> tokens, boolean special, NewRows rows) {
    Tokenizer before = tokenizer();
    Tokenizer after = extend(tokens, special, rows);
    before.close();
    return tokens.stream().map(token -> after.id(token).orElseThrow()).toList();
  }

  /** The former tokenizer stays open. */
  private Tokenizer extend(List<String> tokens, boolean special, NewRows rows) {
    Tokenizer after = tokenizer().withTokens(tokens, special);
    try {
      if (after.vocabularySize() > model.config().vocabulary()) {
        model.resizeTokenEmbeddings(after.vocabularySize(), rows);
      }
    } catch (RuntimeException e) {
      after.close();
      throw e;
    }
    added |= after.vocabularySize() > tokenizer().vocabularySize();
    parts = parts.withTokenizer(after);
    return after;
  }

  /** What a tokenizer in a folder has after all of these tokens. */
  List<String> missing(Path folder) {
    return more(folder).stream().flatMap(run -> run.tokens().stream()).toList();
  }

  /** Adds what a tokenizer in a folder has after all of these tokens. */
  void adopt(Path folder) {
    for (MoreTokens run : more(folder)) {
      add(run.tokens(), run.special(), NewRows.aroundMean(0));
    }
  }

  private List<MoreTokens> more(Path folder) {
    return MoreTokens.in(folder, parts.tokenizer(), parts.path());
  }

  /** Loads what needs the tokens of a folder; if that fails, the model has them no more. */
  LoadResult with(Path folder, Supplier<LoadResult> load) {
    List<MoreTokens> more = more(folder);
    if (more.isEmpty()) {
      return load.get();
    }
    Tokenizer before = tokenizer();
    boolean grown = added;
    int rows = model.config().vocabulary();
    try {
      for (MoreTokens run : more) {
        Tokenizer last = tokenizer();
        extend(run.tokens(), run.special(), NewRows.aroundMean(0));
        close(last, before);
      }
      LoadResult result = load.get();
      before.close();
      return result;
    } catch (RuntimeException | Error e) {
      close(tokenizer(), before);
      parts = parts.withTokenizer(before);
      added = grown;
      if (model.config().vocabulary() != rows) {
        model.resizeTokenEmbeddings(rows, NewRows.aroundMean(0));
      }
      throw e;
    }
  }

  private static void close(Tokenizer tokenizer, Tokenizer kept) {
    if (tokenizer != kept) {
      tokenizer.close();
    }
  }

  /** Whether an adapter that trains these rows has all that were added to the embeddings. */
  boolean newOnesIn(@Nullable TokenRows trained) {
    List<Integer> fresh =
        IntStream.range(parts.vocabulary(), model.config().vocabulary()).boxed().toList();
    String input = model.inputEmbedding().orElse("");
    String head = model.outputHead().orElse(input);
    boolean one =
        head.equals(input)
            || model.tiedWeights().stream()
                .anyMatch(group -> group.containsAll(List.of(input + ".weight", head + ".weight")));
    List<String> layers = one ? List.of(input) : List.of(input, head);
    return !fresh.isEmpty()
        && switch (trained) {
          case null -> false;
          case TokenRows.OfInput(var ids) -> one && ids.containsAll(fresh);
          case TokenRows.OfLayers(var named) ->
              layers.stream()
                  .allMatch(
                      layer ->
                          named.entrySet().stream()
                              .anyMatch(
                                  each ->
                                      ("." + layer).endsWith("." + each.getKey())
                                          && each.getValue().containsAll(fresh)));
        };
  }

  /** Saves the tokenizer if it has grown; of several ranks one does. */
  void saveTokenizer(Path folder, @Nullable Collective ranks) {
    if (!added) {
      return;
    }
    if (ranks == null) {
      tokenizer().save(folder);
    } else {
      ranks.first(() -> tokenizer().save(folder));
    }
  }
}
