package espalier.adapters;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What attaching must know of a model and can not see in its tree. Make one with {@link #of} and
 * the {@code with} methods.
 *
 * @param modelType the architecture, as {@code model_type} in the model's config names it
 * @param inputEmbedding path of the layer that embeds token ids, or null
 * @param outputHead path of the layer that gives the logits of a vocabulary, or null
 * @param tied groups of paths of layers that share one weight; the first of each is the source
 * @param name id or path of the model, written into adapter configs, or null
 * @param revision revision of the model, or null
 * @param autoMapping the model's Python class, or null
 * @param vocabulary tokens that the config on disk has, or 0 if that is unknown; the model has
 *     others once its embeddings were resized
 */
public record ModelFacts(
    String modelType,
    @Nullable String inputEmbedding,
    @Nullable String outputHead,
    List<List<String>> tied,
    @Nullable String name,
    @Nullable String revision,
    @Nullable AutoMapping autoMapping,
    int vocabulary) {

  /** Copies the groups. */
  public ModelFacts {
    tied = tied.stream().map(List::copyOf).toList();
  }

  /** Facts about an architecture, with nothing else known. */
  public static ModelFacts of(String modelType) {
    return new ModelFacts(modelType, null, null, List.of(), null, null, null, 0);
  }

  /** The same with the paths of the input embedding and of the output head. */
  public ModelFacts withEmbeddings(@Nullable String input, @Nullable String output) {
    return new ModelFacts(modelType, input, output, tied, name, revision, autoMapping, vocabulary);
  }

  /** The same with groups of layers that share one weight, the source of each first. */
  public ModelFacts withTied(List<List<String>> groups) {
    return new ModelFacts(
        modelType, inputEmbedding, outputHead, groups, name, revision, autoMapping, vocabulary);
  }

  /** The same with the model's id or path, and its revision. */
  public ModelFacts withName(@Nullable String id, @Nullable String itsRevision) {
    return new ModelFacts(
        modelType, inputEmbedding, outputHead, tied, id, itsRevision, autoMapping, vocabulary);
  }

  /** The same with the model's Python class. */
  public ModelFacts withAutoMapping(@Nullable AutoMapping mapping) {
    return new ModelFacts(
        modelType, inputEmbedding, outputHead, tied, name, revision, mapping, vocabulary);
  }

  /** The same with the number of tokens that the config on disk has. */
  public ModelFacts withVocabulary(int tokens) {
    return new ModelFacts(
        modelType, inputEmbedding, outputHead, tied, name, revision, autoMapping, tokens);
  }
}
