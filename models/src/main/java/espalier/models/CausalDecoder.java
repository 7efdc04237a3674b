package espalier.models;

import espalier.nn.Linear;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.bytedeco.pytorch.Tensor;

/** A decoder that writes: each position's state gives the scores of the next token. */
final class CausalDecoder extends Decoder {

  private final Stack stack;
  private final boolean tied;

  CausalDecoder(ModelConfig config, Tree tree, Stack stack, Linear head, boolean tied) {
    super(config, tree, stack, head);
    this.stack = stack;
    this.tied = tied;
  }

  @Override
  public Tensor hidden(ModelInputs in) {
    return states(in);
  }

  @Override
  public Optional<String> outputHead() {
    return Optional.of("lm_head");
  }

  @Override
  public List<Set<String>> tiedWeights() {
    String embedding = stack.spec().names().get(Part.TOKENS);
    return tied ? List.of(Set.of(embedding + ".weight", "lm_head.weight")) : List.of();
  }

  @Override
  public KvCache newCache(long capacity) {
    return new KvCache(stack.depth(), capacity);
  }
}
