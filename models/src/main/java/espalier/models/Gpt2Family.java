package espalier.models;

import java.util.ArrayList;
import java.util.List;

/** GPT-2: learned positions, layer norms, weights stored as [in, out]. */
final class Gpt2Family {

  private static final Names STACK =
      Names.of(
          """
          TOKENS     transformer.wte
          POSITIONS  transformer.wpe
          BLOCKS     transformer.h
          FINAL_NORM transformer.ln_f
          """);

  private static final Names BLOCK =
      Names.of(
          """
          ATTENTION_NORM ln_1
          QKV            attn.c_attn
          O              attn.c_proj
          FEED_NORM      ln_2
          UP             mlp.c_fc
          DOWN           mlp.c_proj
          """);

  private Gpt2Family() {}

  static CausalPlan plan(ConfigFields in) {
    CommonFields.check(in, List.of("GPT2LMHeadModel", "GPT2Model"));
    in.only("is_encoder_decoder", false);
    in.only("reorder_and_upcast_attn", false); // the same formula, but in float32 beside float16
    // they shape heads that this model does not have
    in.find("summary_type", "summary_use_proj", "summary_activation");
    in.find("summary_proj_to_labels", "summary_first_dropout");
    int vocabulary = in.size("vocab_size", 50257);
    int hidden = in.size("n_embd", "hidden_size", 768);
    int layers = in.size("n_layer", "num_hidden_layers", 12);
    if (layers > Heads.MOST_LAYERS) {
      throw in.wrong("n_layer", layers, "at most " + Heads.MOST_LAYERS);
    }
    int positions = in.size("n_positions", "max_position_embeddings", 1024);
    Heads heads = Heads.alike(in, "n_head", in.size("n_head", "num_attention_heads", 12), hidden);
    double dropout = in.probability("attn_pdrop", 0.1);
    double scale = in.flag("scale_attn_weights", true) ? 1 / Math.sqrt(heads.dim()) : 1;
    boolean byLayer = in.flag("scale_attn_by_inverse_layer_idx", false);
    var feedForward =
        new FeedForwardSpec.Plain(
            in.size("n_inner", 4 * hidden), in.activation("activation_function", "gelu_new"), true);
    var blocks = new ArrayList<BlockSpec>();
    for (int i = 0; i < layers; i++) {
      var attention =
          new AttentionSpec(
              heads.queries(),
              heads.keys(),
              heads.dim(),
              byLayer ? scale / (i + 1) : scale,
              true,
              true,
              0,
              null,
              dropout);
      blocks.add(new BlockSpec(attention, null, feedForward, true));
    }
    var spec =
        new DecoderSpec(
            new DecoderSpec.EmbeddingSpec(vocabulary, hidden, 1, -1, 0),
            hidden,
            new Position.Learned(positions, 0, Position.Counting.FROM_FIRST, 0),
            true,
            new Norm(Norm.Kind.LAYER, in.positive("layer_norm_epsilon", 1e-5)),
            Norm.Placement.BEFORE,
            blocks,
            new Dropouts(
                in.probability("embd_pdrop", 0.1), in.probability("resid_pdrop", 0.1), 0, 0),
            STACK,
            BLOCK);
    return new CausalPlan(spec, in.flag("tie_word_embeddings", true), positions);
  }
}
