package espalier.models;

import espalier.nn.Embedding;
import espalier.nn.Linear;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.bytedeco.pytorch.Tensor;

/** T5 and its version 1.1: an encoder and a decoder with relative positions. */
final class T5Family {

  private static final Names ENCODER =
      Names.of(
          """
          TOKENS     encoder.embed_tokens
          BLOCKS     encoder.block
          FINAL_NORM encoder.final_layer_norm
          """);

  private static final Names DECODER =
      Names.of(
          """
          TOKENS     decoder.embed_tokens
          BLOCKS     decoder.block
          FINAL_NORM decoder.final_layer_norm
          """);

  private static final String SELF =
      """
      Q              layer.0.SelfAttention.q
      K              layer.0.SelfAttention.k
      V              layer.0.SelfAttention.v
      O              layer.0.SelfAttention.o
      RELATIVE_BIAS  layer.0.SelfAttention.relative_attention_bias
      ATTENTION_NORM layer.0.layer_norm
      """;

  private static final String CROSS =
      """
      CROSS_Q        layer.1.EncDecAttention.q
      CROSS_K        layer.1.EncDecAttention.k
      CROSS_V        layer.1.EncDecAttention.v
      CROSS_O        layer.1.EncDecAttention.o
      CROSS_NORM     layer.1.layer_norm
      """;

  private T5Family() {}

  static Model build(ConfigFields in, Tree tree, Map<?, ?> raw) {
    CommonFields.check(in, List.of("T5ForConditionalGeneration", "T5WithLMHeadModel", "T5Model"));
    in.only("is_encoder_decoder", true);
    in.only("is_decoder", false);
    in.probability("classifier_dropout", 0); // of a head that is not built
    in.find("n_positions", "num_labels"); // T5 has no table of positions
    int width = in.size("d_model", "hidden_size", 512);
    int layers = layers(in, "num_layers", 6);
    DecoderSpec encoder = spec(in, false, layers);
    DecoderSpec decoder = spec(in, true, layers(in, "num_decoder_layers", layers));
    // Version 1.1 says "not tied" and means "not scaled"; the reference ties if the file allows it.
    boolean scaled = in.flag("scale_decoder_outputs", in.flag("tie_word_embeddings", true));
    AttentionSpec attention = decoder.blocks().getFirst().attention();
    var config =
        new ModelConfig(
            "t5",
            Task.SEQ_2_SEQ_LM,
            decoder.embedding().vocabulary(),
            width,
            decoder.blocks().size(),
            attention.heads(),
            attention.kvHeads(),
            attention.headDim(),
            0,
            0,
            tokens(in),
            CommonFields.raw(raw),
            CommonFields.unread(in));
    DecoderSpec.EmbeddingSpec table = decoder.embedding();
    Embedding shared = tree.embedding("shared", table.vocabulary(), table.width(), -1, 1);
    var from = new Stack(tree, encoder);
    var to = new Stack(tree, decoder);
    var tied = new LinkedHashSet<String>();
    tied.add(T5Tables.SHARED);
    follow(T5Tables.ENCODER, from, shared, tied);
    follow(T5Tables.DECODER, to, shared, tied);
    Linear head = head(tree, shared, table, tied);
    return tree.finished(
        new EncoderDecoder(
            config,
            tree,
            from,
            to,
            head,
            scaled ? 1 / Math.sqrt(width) : 1,
            tied.size() < 2 ? Set.of() : Collections.unmodifiableSet(tied)));
  }

  private static void follow(String name, Stack stack, Embedding shared, Set<String> tied) {
    if (stack.tokens().weight().data_ptr().address() == shared.weight().data_ptr().address()) {
      tied.add(name);
    }
  }

  private static Linear head(
      Tree tree, Embedding shared, DecoderSpec.EmbeddingSpec table, Set<String> tied) {
    Tensor own = tree.find("lm_head.weight");
    if (own != null && !own.equal(shared.weight())) {
      return tree.head("lm_head", table.vocabulary(), table.width(), false);
    }
    tied.add("lm_head.weight");
    return tree.hang("lm_head", new Linear(shared.weight(), null));
  }

  private static int layers(ConfigFields in, String name, int fallback) {
    return in.whole(name, fallback, 1, Heads.MOST_LAYERS);
  }

  private static ModelConfig.Tokens tokens(ConfigFields in) {
    ModelConfig.Tokens read = CommonFields.tokens(in);
    Integer pad =
        read.pad() == null && !in.present("pad_token_id") ? Integer.valueOf(0) : read.pad();
    return new ModelConfig.Tokens(
        pad,
        read.begin(),
        read.end().isEmpty() ? List.of(1) : read.end(),
        read.decoderStart() == null ? pad : read.decoderStart());
  }

  private static DecoderSpec spec(ConfigFields in, boolean decoder, int layers) {
    int width = in.size("d_model", "hidden_size", 512);
    int heads = in.size("num_heads", "num_attention_heads", 8);
    int headDim = in.size("d_kv", "head_dim", 64);
    double dropout = in.probability("dropout_rate", 0.1);
    // T5 does not scale its scores; the first values of its weights do it.
    var attention = new AttentionSpec(heads, heads, headDim, 1, false, false, 0, null, dropout);
    FeedForwardSpec feedForward = feedForward(in);
    String feed = feed(feedForward, decoder ? 2 : 1);
    return new DecoderSpec(
        new DecoderSpec.EmbeddingSpec(in.size("vocab_size", 32128), width, 1, -1, 0),
        width,
        relative(in, decoder),
        decoder,
        new Norm(Norm.Kind.RMS, in.positive("layer_norm_epsilon", 1e-6)),
        Norm.Placement.BEFORE,
        Collections.nCopies(
            layers, new BlockSpec(attention, decoder ? attention : null, feedForward, false)),
        new Dropouts(dropout, dropout, dropout, dropout),
        decoder ? DECODER : ENCODER,
        Names.of(SELF + (decoder ? CROSS : "") + feed));
  }

  private static Position relative(ConfigFields in, boolean decoder) {
    int buckets = in.size("relative_attention_num_buckets", 32);
    int distance = in.size("relative_attention_max_distance", 128);
    int exact = buckets / (decoder ? 2 : 4);
    if (exact < 1) {
      throw in.wrong("relative_attention_num_buckets", buckets, "at least 4");
    }
    if (distance <= exact) {
      throw in.wrong("relative_attention_max_distance", distance, "more than " + exact);
    }
    return new Position.Relative(buckets, distance);
  }

  private static FeedForwardSpec feedForward(ConfigFields in) {
    int inner = in.size("d_ff", 2048);
    String name = in.text("feed_forward_proj", "relu");
    boolean gated = name.startsWith("gated-");
    String plain = gated ? name.substring("gated-".length()) : name;
    // "gated-gelu" has always meant the tanh formula
    String formula = name.equals("gated-gelu") ? "gelu_new" : plain;
    Activation activation = in.activation("feed_forward_proj", name, formula);
    in.only("is_gated_act", gated);
    in.only("dense_act_fn", formula);
    return gated
        ? new FeedForwardSpec.Gated(inner, activation, false)
        : new FeedForwardSpec.Plain(inner, activation, false);
  }

  private static String feed(FeedForwardSpec spec, int layer) {
    String table =
        spec instanceof FeedForwardSpec.Gated
            ? """
            GATE      layer.%1$d.DenseReluDense.wi_0
            UP        layer.%1$d.DenseReluDense.wi_1
            DOWN      layer.%1$d.DenseReluDense.wo
            FEED_NORM layer.%1$d.layer_norm
            """
            : """
            UP        layer.%1$d.DenseReluDense.wi
            DOWN      layer.%1$d.DenseReluDense.wo
            FEED_NORM layer.%1$d.layer_norm
            """;
    return table.formatted(layer);
  }
}
