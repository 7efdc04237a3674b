package espalier.models;

import java.util.Collections;
import java.util.List;

/** OPT: learned positions that start at 2 and are counted over the attention mask. */
final class OptFamily {

  /** The first two rows of the table of positions are for padding. */
  private static final int OFFSET = 2;

  private static final Names STACK =
      Names.of(
          """
          TOKENS      model.decoder.embed_tokens
          POSITIONS   model.decoder.embed_positions
          PROJECT_OUT model.decoder.project_out
          PROJECT_IN  model.decoder.project_in
          FINAL_NORM  model.decoder.final_layer_norm
          BLOCKS      model.decoder.layers
          """);

  private static final Names BLOCK =
      Names.of(
          """
          K              self_attn.k_proj
          V              self_attn.v_proj
          Q              self_attn.q_proj
          O              self_attn.out_proj
          ATTENTION_NORM self_attn_layer_norm
          UP             fc1
          DOWN           fc2
          FEED_NORM      final_layer_norm
          """);

  private OptFamily() {}

  static CausalPlan plan(ConfigFields in) {
    CommonFields.check(in, List.of("OPTForCausalLM", "OPTModel"));
    in.only("is_encoder_decoder", false);
    in.only("layer_norm_elementwise_affine", true);
    in.only("activation_dropout", 0);
    int vocabulary = in.size("vocab_size", 50272);
    int hidden = in.size("hidden_size", 768);
    int width = in.size("word_embed_proj_dim", hidden);
    int layers = in.whole("num_hidden_layers", 12, 1, Heads.MOST_LAYERS);
    int positions = in.size("max_position_embeddings", 2048);
    Heads heads =
        Heads.alike(in, "num_attention_heads", in.size("num_attention_heads", 12), hidden);
    boolean bias = in.flag("enable_bias", true);
    boolean before = in.flag("do_layer_norm_before", true);
    boolean lastNorm = before && !in.flag("_remove_final_layer_norm", false);
    var block =
        new BlockSpec(
            AttentionSpec.plain(
                heads.queries(), heads.dim(), bias, in.probability("attention_dropout", 0)),
            new FeedForwardSpec.Plain(
                in.size("ffn_dim", 3072), in.activation("activation_function", "relu"), bias));
    Names names = lastNorm ? STACK : STACK.without(Part.FINAL_NORM);
    var spec =
        new DecoderSpec(
            new DecoderSpec.EmbeddingSpec(
                vocabulary, width, 1, CommonFields.paddingIndex(in, vocabulary), 0),
            hidden,
            new Position.Learned(positions + OFFSET, OFFSET, Position.Counting.OVER_MASK, 0),
            true,
            new Norm(Norm.Kind.LAYER, 1e-5),
            before ? Norm.Placement.BEFORE : Norm.Placement.AFTER,
            Collections.nCopies(layers, block),
            new Dropouts(0, in.probability("dropout", 0.1), 0, 0),
            width == hidden ? names.without(Part.PROJECT_IN, Part.PROJECT_OUT) : names,
            BLOCK);
    return new CausalPlan(spec, in.flag("tie_word_embeddings", true), positions);
  }
}
