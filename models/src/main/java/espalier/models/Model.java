package espalier.models;

import espalier.nn.Adaptable;
import espalier.nn.ForwardLock;
import espalier.nn.Layer;
import espalier.nn.ParallelStyle;
import espalier.nn.Replicable;
import espalier.nn.Steady;
import espalier.nn.TokenIds;
import espalier.nn.parallel.ParallelPlan;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Supplier;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * The root of a model's tree. Paths in it are Hugging Face's module names.
 *
 * <p>What a forward makes belongs to the scope around it. Where gradients are wanted, that is the
 * {@link espalier.nn.Scope#graph graph scope}, which must stay open until backward has run.
 */
public abstract class Model extends Layer implements Replicable, Steady {

  private final ForwardLock lock = new ForwardLock();
  private ModelConfig config;
  private boolean checkpointing;
  private @Nullable List<Adaptable> adaptables;

  Model(ModelConfig config, Tree tree) {
    this.config = config;
    tree.root().children().forEach(this::child);
  }

  /** What the config says. */
  public final ModelConfig config() {
    return config;
  }

  /** The family, as {@code model_type} has it. */
  public final String modelType() {
    return config.modelType();
  }

  /** What the head answers. */
  public final Task task() {
    return config.task();
  }

  /**
   * Scores: of the next token at each position [B, T, vocabulary], or of each label [B, labels].
   *
   * @throws IllegalArgumentException if the inputs do not fit together or to the model
   */
  public final Tensor logits(ModelInputs in) {
    return lock.forward(() -> knowing(in, () -> head(hidden(in))));
  }

  /**
   * The lock that {@link #logits} holds. Who calls {@link #hidden} and {@link #head} apart holds it
   * around both, so that nothing is swapped between them.
   */
  @Override
  public final ForwardLock forwardLock() {
    return lock;
  }

  /** Runs a forward so that adapters which wait for tokens know them. */
  Tensor knowing(ModelInputs in, Supplier<Tensor> forward) {
    return forward.get();
  }

  /**
   * Runs a forward over a cache, if there is one, after a look at who wrote what it holds.
   *
   * @param ids the new tokens, [B, T]
   */
  final Tensor recorded(Tensor ids, @Nullable KvCache cache, Supplier<Tensor> forward) {
    if (cache == null) {
      return forward.get();
    }
    long[][] fresh = TokenIds.rows(ids);
    var voices = Voices.of(adaptables(), fresh.length);
    TokenIds known = TokenIds.current();
    int past = (int) cache.length();
    if (!cache.forced()) {
      requireAgreement(cache, past, past + fresh[0].length, voices, known);
    }
    Tensor result = forward.get();
    cache.record().add(fresh, past, voices, known);
    return result;
  }

  private static void requireAgreement(
      KvCache cache, int past, int total, Voices voices, @Nullable TokenIds known) {
    for (int row = 0; row < voices.batch(); row++) {
      int agreeing = cache.record().agreeing(row, past, total, voices, known);
      if (agreeing < past) {
        throw new IllegalStateException(
            "position %d of row %d in the cache was written by %s but %s acts there now; truncate the cache to %d and read those tokens again, or allow it with force(true)"
                .formatted(
                    agreeing,
                    row,
                    cache.record().voice(row, agreeing),
                    voices.at(row, (long) total - agreeing, known),
                    agreeing));
      }
    }
  }

  /**
   * How many of the tokens in a cache of one row a forward over a text can use as they are: the
   * first ones of the text, as far as they were written by what acts on them now. The last token of
   * the text is never among them, since its output is wanted.
   *
   * <p>Where rows have adapters of their own, {@link espalier.nn.Rows#ADAPTERS} must be bound as it
   * will be for the forward.
   */
  public final long reusable(KvCache cache, int[] text) {
    long[] ids = Arrays.stream(text).asLongStream().toArray();
    int common =
        Math.min(cache.record().common(ids, (int) cache.length()), Math.max(0, ids.length - 1));
    var voices = Voices.of(adaptables(), 1);
    TokenIds known = voices.waiting() ? TokenIds.of(new long[][] {ids}) : null;
    return cache.record().agreeing(0, common, ids.length, voices, known);
  }

  /** Every layer that can have adapters. */
  final List<Adaptable> adaptables() {
    List<Adaptable> all = adaptables;
    if (all == null) {
      all =
          layers().values().stream()
              .filter(Adaptable.class::isInstance)
              .map(Adaptable.class::cast)
              .toList();
      adaptables = all;
    }
    return all;
  }

  /**
   * What the head gets: the states after the last block and its norm, [B, T, hidden]; of a decoder
   * that classifies, those of each row's last token, [B, hidden].
   */
  public abstract Tensor hidden(ModelInputs in);

  /** The head alone: [..., hidden] to scores. It takes what {@link #hidden} gives. */
  public abstract Tensor head(Tensor hidden);

  /** The path of the layer that gives the scores over the vocabulary, or empty. */
  public abstract Optional<String> outputHead();

  /** The path of a classifier's head, which training makes anew, or empty. */
  public Optional<String> classificationHead() {
    return Optional.empty();
  }

  /**
   * The usual way to split this architecture over ranks: attention by heads, feed-forwards by their
   * inner width, the output head by the vocabulary where that is a multiple of the ranks. The token
   * embedding stays whole; {@code with(path, EMBEDDING_ROW)} splits it too.
   *
   * @throws IllegalArgumentException if the heads can not be dealt to so many ranks
   */
  public final ParallelPlan parallelPlan(int ranks) {
    var styles = new LinkedHashMap<String, ParallelStyle>();
    stacks().forEach(stack -> styles.putAll(BlockSplit.styles(stack, ranks)));
    outputHead()
        .filter(_ -> config.vocabulary() % ranks == 0)
        .ifPresent(path -> styles.put(path, ParallelStyle.COLUMN_GATHERED));
    return new ParallelPlan(styles);
  }

  /** The lists of blocks. */
  abstract List<Stack> stacks();

  /** The path of the token embedding. */
  public abstract Optional<String> inputEmbedding();

  /** What each block of the last list is: of the decoder, if there is one. */
  public final List<BlockKind> blockKinds() {
    return stacks().getLast().blocks().kinds();
  }

  /** The paths of the lists of blocks, such as {@code model.layers}. */
  public abstract List<String> pathsOfBlocks();

  /** Sets of parameters, by path, that are one tensor. */
  public abstract List<Set<String>> tiedWeights();

  /**
   * Parameters that the checkpoint did not have and that were drawn at random, by path: the head of
   * a classifier whose checkpoint is a plain encoder.
   */
  public Set<String> freshParameters() {
    return Set.of();
  }

  /** The dtype of the hidden states. */
  public abstract ScalarType dtype();

  /** An empty cache for generation, with room for so many tokens a row; it grows when needed. */
  public KvCache newCache(long capacity) {
    throw new IllegalStateException(
        modelType() + " with a classifier does not generate, so it has no cache");
  }

  @Override
  public List<Integer> sources() {
    return List.of();
  }

  @Override
  public Set<String> replicas() {
    return Set.of();
  }

  @Override
  public Repetition repeat(int... sources) {
    throw new IllegalArgumentException(
        "layer_replication is for models of one list of blocks, which "
            + modelType()
            + " is not; leave it out");
  }

  /** Makes a new list of blocks out of the present one, for good; see {@link #repeat}. */
  public final void repeatBlocks(int... sources) {
    try (Repetition repetition = repeat(sources)) {
      repetition.keep();
    }
  }

  /**
   * Gives the model another number of tokens: rows are added at the end of the token embedding and
   * of the output head, or taken away there. Weights that are shared stay shared. The config says
   * the new number from then on.
   *
   * @param vocabulary rows after it, one for each token id from 0
   * @param rows what stands in rows that are added
   * @throws IllegalArgumentException if there would be no row left, or the rows have another shape;
   *     nothing is changed
   * @throws IllegalStateException if adapters are on these layers already, or the model is split
   *     over ranks
   */
  public final void resizeTokenEmbeddings(int vocabulary, NewRows rows) {
    var paths = new LinkedHashSet<String>();
    inputEmbedding().ifPresent(paths::add);
    stacks().forEach(stack -> paths.add(stack.spec().names().get(Part.TOKENS)));
    outputHead().ifPresent(paths::add);
    var resizing = new Resizing(Resizing.layers(this, List.copyOf(paths)), vocabulary);
    lock.change(
        () -> {
          resizing.run(rows);
          stacks().forEach(stack -> stack.vocabulary(vocabulary));
          config = config.withVocabulary(vocabulary);
        });
  }

  /** Takes down that layers came or went, and in the config how many blocks there are now. */
  final void hasBlocks(int layers) {
    adaptables = null;
    config = config.withLayers(layers);
  }

  /** Whether backward computes the blocks again instead of keeping what they made. */
  public final boolean gradientCheckpointing() {
    return checkpointing;
  }

  /** Switches {@linkplain espalier.nn.Recompute gradient checkpointing} of each block. */
  public final void gradientCheckpointing(boolean on) {
    checkpointing = on;
  }
}
