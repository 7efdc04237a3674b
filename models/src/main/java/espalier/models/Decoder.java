package espalier.models;

import espalier.nn.Linear;
import espalier.nn.TokenIds;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Supplier;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A decoder: each position's state gives the scores of the next token. */
final class Decoder extends Model {

  private final Stack stack;
  private final Linear head;
  private final String embedding;
  private final boolean tied;

  Decoder(ModelConfig config, Tree tree, Stack stack, Linear head, boolean tied) {
    super(config, tree);
    this.stack = stack;
    this.head = head;
    this.embedding = stack.spec().names().get(Part.TOKENS);
    this.tied = tied;
  }

  @Override
  public Tensor hidden(ModelInputs in) {
    if (in.decoderInputIds() != null) {
      throw new IllegalArgumentException(
          modelType() + " has no encoder, so it takes no decoder inputs; put them after the text");
    }
    return knowing(
        in, () -> recorded(in.inputIds(), in.cache(), () -> stack.forward(stackInputs(in))));
  }

  private StackInputs stackInputs(ModelInputs in) {
    return new StackInputs(
        in.inputIds(),
        StackInputs.visible("attention_mask", in.attentionMask(), in.inputIds(), in.cache()),
        in.positionIds(),
        in.tokenTypeIds(),
        in.segments(),
        in.cache(),
        null,
        gradientCheckpointing());
  }

  @Override
  Tensor knowing(ModelInputs in, Supplier<Tensor> forward) {
    int batch = (int) in.inputIds().size(0);
    if (TokenIds.current() != null || !Voices.of(adaptables(), batch).waiting()) {
      return forward.get(); // what the caller said counts
    }
    long[][] ids = TokenIds.rows(in.inputIds());
    Tensor segments = in.segments();
    if (segments != null) {
      return TokenIds.packed(ids, TokenIds.rows(segments)).during(forward);
    }
    KvCache cache = in.cache();
    TokenIds known =
        cache == null ? TokenIds.of(ids) : cache.record().followedBy(ids, (int) cache.length());
    return known.during(forward);
  }

  @Override
  public Tensor head(Tensor hidden) {
    return head.forward(hidden);
  }

  @Override
  public Optional<String> outputHead() {
    return Optional.of("lm_head");
  }

  @Override
  public Optional<String> inputEmbedding() {
    return Optional.of(embedding);
  }

  @Override
  List<Stack> stacks() {
    return List.of(stack);
  }

  @Override
  public List<String> pathsOfBlocks() {
    return List.of(stack.spec().names().get(Part.BLOCKS));
  }

  @Override
  public List<Set<String>> tiedWeights() {
    return tied ? List.of(Set.of(embedding + ".weight", "lm_head.weight")) : List.of();
  }

  @Override
  public ScalarType dtype() {
    return stack.dtype();
  }

  @Override
  public KvCache newCache(long capacity) {
    return new KvCache(stack.depth(), capacity);
  }

  @Override
  public List<Integer> sources() {
    return stack.blocks().sources();
  }

  @Override
  public Set<String> replicas() {
    return stack.blocks().replicas();
  }

  @Override
  public Repetition repeat(int... sources) {
    return stack.blocks().repeat(this::hasBlocks, sources);
  }
}
