package espalier.models;

import static org.bytedeco.pytorch.global.torch.dropout;

import espalier.nn.Linear;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** An encoder whose first token's state gives the scores of the labels. */
final class SequenceClassifier extends Model {

  /**
   * The head: a dense layer with tanh, then the scores.
   *
   * @param inner BERT's pooler or RoBERTa's dense layer, [hidden, hidden]
   * @param scores [labels, hidden]
   * @param early whether dropout also comes before the dense layer
   * @param dropout probability in training, in [0, 1)
   * @param fresh parameters that were drawn at random
   */
  record Head(Linear inner, Linear scores, boolean early, double dropout, Set<String> fresh) {}

  private final Stack stack;
  private final Head head;

  SequenceClassifier(ModelConfig config, Tree tree, Stack stack, Head head) {
    super(config, tree);
    this.stack = stack;
    this.head = head;
  }

  @Override
  public Tensor hidden(ModelInputs in) {
    in.requireWholeRows(modelType());
    return stack.forward(
        new StackInputs(
            in.inputIds(),
            StackInputs.visible("attention_mask", in.attentionMask(), in.inputIds(), null),
            in.positionIds(),
            in.tokenTypeIds(),
            null,
            null,
            null,
            gradientCheckpointing()));
  }

  @Override
  public Tensor head(Tensor hidden) {
    Tensor first = hidden.select(1, 0);
    Tensor x = head.early() ? dropped(first) : first;
    return head.scores().forward(dropped(head.inner().forward(x).tanh()));
  }

  private Tensor dropped(Tensor x) {
    return head.dropout() > 0 && training() ? dropout(x, head.dropout(), true) : x;
  }

  @Override
  public Optional<String> outputHead() {
    return Optional.empty();
  }

  @Override
  public Optional<String> classificationHead() {
    return Optional.of("classifier");
  }

  @Override
  public Set<String> freshParameters() {
    return head.fresh();
  }

  @Override
  public Optional<String> inputEmbedding() {
    return Optional.of(stack.spec().names().get(Part.TOKENS));
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
    return List.of();
  }

  @Override
  public ScalarType dtype() {
    return stack.dtype();
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
