package espalier.models;

import espalier.nn.Linear;
import espalier.nn.TokenIds;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.Supplier;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A decoder with one linear head over its states. */
abstract sealed class Decoder extends Model permits CausalDecoder, DecoderClassifier {

  private final Stack stack;
  private final Linear head;
  private final String embedding;

  Decoder(ModelConfig config, Tree tree, Stack stack, Linear head) {
    super(config, tree);
    this.stack = stack;
    this.head = head;
    this.embedding = stack.spec().names().get(Part.TOKENS);
  }

  /** The states after the last block and its norm, [B, T, hidden]. */
  final Tensor states(ModelInputs in) {
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
        in.reach(),
        in.cache(),
        null,
        gradientCheckpointing());
  }

  @Override
  final Tensor knowing(ModelInputs in, Supplier<Tensor> forward) {
    int batch = (int) in.inputIds().size(0);
    if (TokenIds.current() != null || !Voices.of(adaptables(), batch).waiting()) {
      return forward.get(); // what the caller said counts
    }
    long[][] ids = TokenIds.rows(in.inputIds());
    Tensor reach = in.reach();
    if (reach != null) {
      return TokenIds.packed(ids, TokenIds.rows(reach)).during(forward);
    }
    KvCache cache = in.cache();
    TokenIds known =
        cache == null ? TokenIds.of(ids) : cache.record().followedBy(ids, (int) cache.length());
    return known.during(forward);
  }

  @Override
  public final Tensor head(Tensor hidden) {
    return head.forward(hidden);
  }

  @Override
  public final Optional<String> inputEmbedding() {
    return Optional.of(embedding);
  }

  @Override
  final List<Stack> stacks() {
    return List.of(stack);
  }

  @Override
  public final List<String> pathsOfBlocks() {
    return List.of(stack.spec().names().get(Part.BLOCKS));
  }

  @Override
  public final ScalarType dtype() {
    return stack.dtype();
  }

  @Override
  public final List<Integer> sources() {
    return stack.blocks().sources();
  }

  @Override
  public final Set<String> replicas() {
    return stack.blocks().replicas();
  }

  @Override
  public final Repetition repeat(int... sources) {
    return stack.blocks().repeat(this::hasBlocks, sources);
  }
}
