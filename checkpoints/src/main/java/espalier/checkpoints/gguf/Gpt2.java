package espalier.checkpoints.gguf;

import java.util.Map;

/** Architecture {@code gpt2}, whose projections Hugging Face keeps as [in, out]. */
final class Gpt2 implements Architecture {

  @Override
  public Converted convert(GgufFile file) {
    var settings = new Settings(file.metadata(), "gpt2");
    Map<String, Object> config = Decoders.start(file, "gpt2", "GPT2LMHeadModel");
    long hidden = settings.integer("embedding_length");
    long layers = settings.integer("block_count");
    long heads = settings.integer("attention.head_count");
    config.put("n_embd", hidden);
    config.put("n_layer", layers);
    config.put("n_head", heads);
    config.put("n_inner", settings.integer("feed_forward_length", 4 * hidden));
    config.put("n_positions", settings.integer("context_length"));
    config.put("n_ctx", settings.integer("context_length"));
    config.put("layer_norm_epsilon", settings.number("attention.layer_norm_epsilon"));
    config.put("activation_function", "gelu_new");
    settings.only("attention.head_count_kv", heads);
    settings.only("attention.scale", 0);
    settings.harmless("vocab_size");
    settings.refuseUnread();
    return new Converted(config, Mapping.of(file, names(hidden / heads), layers, 0));
  }

  @Override
  public NameTable names(long headDim) {
    var asStored = new Layout.AsStored();
    var transposed = new Layout.Transposed();
    String layer = "transformer.h.{n}.";
    return new NameTable()
        .add("token_embd.weight", "transformer.wte.weight")
        .add("position_embd.weight", "transformer.wpe.weight")
        .addWithBias("output_norm", "transformer.ln_f", asStored, asStored)
        .addOptional("output.weight", "lm_head.weight")
        .addWithBias("blk.{n}.attn_norm", layer + "ln_1", asStored, asStored)
        .addWithBias("blk.{n}.attn_qkv", layer + "attn.c_attn", transposed, asStored)
        .addWithBias("blk.{n}.attn_output", layer + "attn.c_proj", transposed, asStored)
        .addWithBias("blk.{n}.ffn_norm", layer + "ln_2", asStored, asStored)
        .addWithBias("blk.{n}.ffn_up", layer + "mlp.c_fc", transposed, asStored)
        .addWithBias("blk.{n}.ffn_down", layer + "mlp.c_proj", transposed, asStored);
  }
}
