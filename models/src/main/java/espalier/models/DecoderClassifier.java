package espalier.models;

import static org.bytedeco.pytorch.global.torch.arange;

import espalier.nn.Linear;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A decoder whose last real token's state gives the scores of the labels, as the reference's
 * GenericForSequenceClassification.
 */
final class DecoderClassifier extends Decoder {

  static final String SCORE = "score";

  private final @Nullable Integer pad;
  private final Set<String> fresh;

  /**
   * Puts a classifier together.
   *
   * @param score [labels, hidden], without a bias
   * @param pad the token that fills up rows on either side; none of the vocabulary if negative;
   *     null if nobody said, so that only a single row's end is known
   * @param fresh parameters that were drawn at random
   */
  DecoderClassifier(
      ModelConfig config,
      Tree tree,
      Stack stack,
      Linear score,
      @Nullable Integer pad,
      Set<String> fresh) {
    super(config, tree, stack, score);
    this.pad = pad;
    this.fresh = fresh;
  }

  @Override
  public Tensor hidden(ModelInputs in) {
    in.requireWholeRows(modelType());
    long batch = in.inputIds().size(0);
    if (pad == null && batch != 1) {
      throw new IllegalArgumentException(
          "the config of this %s has no pad_token_id, so that the last token of each of %d rows can not be told from padding; set pad_token_id in config.json, or give one row at a time"
              .formatted(modelType(), batch));
    }
    Tensor states = states(in);
    return pad == null ? states.select(1, -1) : last(states, in.inputIds(), pad);
  }

  /** The state of each row's last token that is not padding, [B, hidden]; the mask has no say. */
  private static Tensor last(Tensor states, Tensor ids, int pad) {
    long batch = ids.size(0);
    long time = ids.size(1);
    Tensor real = ids.ne(new Scalar((long) pad));
    Tensor positions = arange(new Scalar(time), ids.options());
    Tensor last = real.mul(positions).argmax(new LongOptional(1), false); // all padding: the first
    Tensor rows = arange(new Scalar(batch), ids.options()).mul(new Scalar(time));
    return states.reshape(batch * time, -1).index_select(0, rows.add(last));
  }

  @Override
  public Optional<String> outputHead() {
    return Optional.empty();
  }

  @Override
  public Optional<String> classificationHead() {
    return Optional.of(SCORE);
  }

  @Override
  public Set<String> freshParameters() {
    return fresh;
  }

  @Override
  public List<Set<String>> tiedWeights() {
    return List.of();
  }
}
