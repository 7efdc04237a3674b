package espalier.models;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.full;

import espalier.nn.Linear;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** An encoder reads a text, a decoder writes an answer to it: T5. */
public final class EncoderDecoder extends Model {

  private final Stack encoder;
  private final Stack decoder;
  private final Linear head;
  private final double scale;
  private final Set<String> tied;

  EncoderDecoder(
      ModelConfig config,
      Tree tree,
      Stack encoder,
      Stack decoder,
      Linear head,
      double scale,
      Set<String> tied) {
    super(config, tree);
    this.encoder = encoder;
    this.decoder = decoder;
    this.head = head;
    this.scale = scale;
    this.tied = tied;
  }

  /**
   * The decoder's states as the head wants them, [B, U, hidden]. A cache that has the keys of the
   * encoder's states spares the encoder.
   */
  @Override
  public Tensor hidden(ModelInputs in) {
    Tensor answer = in.decoderInputIds();
    if (answer == null) {
      throw new IllegalArgumentException(
          modelType()
              + " needs decoder inputs too; training gives the labels moved right by one, see"
              + " decoderInputs");
    }
    if (in.reach() != null || in.positionIds() != null) {
      throw new IllegalArgumentException(
          modelType() + " has relative positions: it takes neither packed rows nor positions");
    }
    KvCache cache = in.cache();
    Tensor visible = StackInputs.visible("attention_mask", in.attentionMask(), in.inputIds(), null);
    boolean kept = cache != null && cache.hasMemory();
    var memory =
        new StackInputs.Memory(
            kept
                ? null
                : encoder.forward(
                    new StackInputs(
                        in.inputIds(),
                        visible,
                        null,
                        in.tokenTypeIds(),
                        null,
                        null,
                        null,
                        gradientCheckpointing())),
            Sight.across(visible, dtype()));
    Tensor states =
        recorded(
            answer,
            cache,
            () ->
                decoder.forward(
                    new StackInputs(
                        answer,
                        StackInputs.visible(
                            "decoder_attention_mask", in.decoderAttentionMask(), answer, cache),
                        null,
                        null,
                        null,
                        cache,
                        memory,
                        gradientCheckpointing())));
    return scale == 1 ? states : states.mul(new Scalar(scale));
  }

  @Override
  public Tensor head(Tensor hidden) {
    return head.forward(hidden);
  }

  /**
   * What the decoder reads to learn {@code labels}: the start token and then the labels but the
   * last.
   *
   * @param labels [B, U] int64; -100 at places that do not count
   * @return [B, U] int64
   */
  public Tensor decoderInputs(Tensor labels) {
    Integer start = config().tokens().decoderStart();
    Integer pad = config().tokens().pad();
    if (start == null || pad == null) {
      throw new IllegalArgumentException(
          "config.json has no decoder_start_token_id or no pad_token_id, so labels can not be moved"
              + " right; T5 has 0 for both");
    }
    var parts = new TensorVector();
    parts.push_back(
        full(new long[] {labels.size(0), 1}, new Scalar((long) start), labels.options()));
    parts.push_back(labels.narrow(1, 0, labels.size(1) - 1));
    Tensor moved = cat(parts, 1);
    return moved.masked_fill_(moved.eq(new Scalar(-100)), new Scalar((long) pad));
  }

  @Override
  public Optional<String> outputHead() {
    return Optional.of("lm_head");
  }

  @Override
  public Optional<String> inputEmbedding() {
    return Optional.of("shared");
  }

  @Override
  List<Stack> stacks() {
    return List.of(encoder, decoder);
  }

  @Override
  public List<String> pathsOfBlocks() {
    return List.of(
        encoder.spec().names().get(Part.BLOCKS), decoder.spec().names().get(Part.BLOCKS));
  }

  @Override
  public List<Set<String>> tiedWeights() {
    return tied.isEmpty() ? List.of() : List.of(tied);
  }

  @Override
  public ScalarType dtype() {
    return decoder.dtype();
  }

  @Override
  public KvCache newCache(long capacity) {
    return new KvCache(decoder.depth(), capacity);
  }
}
