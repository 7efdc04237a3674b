package espalier.models;

import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;

/** BERT and RoBERTa with a head for sequence classification. */
final class BertFamily {

  private static final Names BERT =
      Names.of(
          """
          TOKENS         bert.embeddings.word_embeddings
          POSITIONS      bert.embeddings.position_embeddings
          TOKEN_TYPES    bert.embeddings.token_type_embeddings
          EMBEDDING_NORM bert.embeddings.LayerNorm
          BLOCKS         bert.encoder.layer
          """);

  private static final Names ROBERTA =
      Names.of(
          """
          TOKENS         roberta.embeddings.word_embeddings
          TOKEN_TYPES    roberta.embeddings.token_type_embeddings
          EMBEDDING_NORM roberta.embeddings.LayerNorm
          POSITIONS      roberta.embeddings.position_embeddings
          BLOCKS         roberta.encoder.layer
          """);

  private static final Names BLOCK =
      Names.of(
          """
          Q              attention.self.query
          K              attention.self.key
          V              attention.self.value
          O              attention.output.dense
          ATTENTION_NORM attention.output.LayerNorm
          UP             intermediate.dense
          DOWN           output.dense
          FEED_NORM      output.LayerNorm
          """);

  private BertFamily() {}

  static Model build(String modelType, ConfigFields in, Tree tree, Map<?, ?> raw) {
    boolean bert = modelType.equals("bert");
    CommonFields.check(in, architectures(bert));
    in.only("is_encoder_decoder", false);
    in.only("is_decoder", false);
    in.only("position_embedding_type", "absolute");
    in.flag("tie_word_embeddings", true); // of a head for masked words, which is not built
    in.find("directionality", "pooler_fc_size", "pooler_num_attention_heads");
    in.find("pooler_num_fc_layers", "pooler_size_per_head", "pooler_type");
    int labels = CommonFields.labels(in);
    DecoderSpec spec = spec(bert, in);
    var config =
        new ModelConfig(
            modelType,
            Task.SEQ_CLS,
            spec.embedding().vocabulary(),
            spec.hidden(),
            spec.blocks().size(),
            spec.blocks().getFirst().attention().heads(),
            spec.blocks().getFirst().attention().kvHeads(),
            spec.blocks().getFirst().attention().headDim(),
            in.size("max_position_embeddings", 512),
            labels,
            CommonFields.tokens(in),
            CommonFields.raw(raw),
            CommonFields.unread(in));
    var stack = new Stack(tree, spec);
    double dropout =
        in.probability("classifier_dropout", in.probability("hidden_dropout_prob", 0.1));
    var heads = new ScoreLayers(tree, stack, in);
    Linear inner =
        heads.linear(bert ? "bert.pooler.dense" : "classifier.dense", spec.hidden(), true);
    Linear scores = heads.linear(bert ? "classifier" : "classifier.out_proj", labels, true);
    return tree.finished(
        new SequenceClassifier(
            config,
            tree,
            stack,
            new SequenceClassifier.Head(inner, scores, !bert, dropout, heads.fresh())));
  }

  // A head for tokens or for answers is called classifier too, so it must not be taken for ours.
  private static List<String> architectures(boolean bert) {
    var names = new ArrayList<String>();
    for (String kind : List.of("ForSequenceClassification", "ForMaskedLM", "Model")) {
      names.add((bert ? "Bert" : "Roberta") + kind);
    }
    if (bert) {
      names.add("BertForPreTraining");
      names.add("BertForNextSentencePrediction");
    }
    return names;
  }

  private static DecoderSpec spec(boolean bert, ConfigFields in) {
    int vocabulary = in.size("vocab_size", bert ? 30522 : 50265);
    int hidden = in.size("hidden_size", 768);
    int layers = in.whole("num_hidden_layers", 12, 1, Heads.MOST_LAYERS);
    int positions = in.size("max_position_embeddings", 512);
    Heads heads =
        Heads.alike(in, "num_attention_heads", in.size("num_attention_heads", 12), hidden);
    Integer pad = in.has("pad_token_id") ? in.token("pad_token_id") : Integer.valueOf(bert ? 0 : 1);
    int padding = pad == null ? 0 : pad;
    if (padding >= vocabulary) {
      throw in.wrong("pad_token_id", padding, "a token below vocab_size " + vocabulary);
    }
    double dropout = in.probability("hidden_dropout_prob", 0.1);
    var block =
        new BlockSpec(
            AttentionSpec.plain(
                heads.queries(),
                heads.dim(),
                true,
                in.probability("attention_probs_dropout_prob", 0.1)),
            new FeedForwardSpec.Plain(
                in.size("intermediate_size", 3072), in.activation("hidden_act", "gelu"), true));
    return new DecoderSpec(
        new DecoderSpec.EmbeddingSpec(
            vocabulary, hidden, 1, padding, in.size("type_vocab_size", 2)),
        hidden,
        new Position.Learned(
            positions,
            0,
            bert ? Position.Counting.PLAIN : Position.Counting.OVER_TOKENS,
            bert ? 0 : padding),
        false,
        new Norm(Norm.Kind.LAYER, in.positive("layer_norm_eps", 1e-12)),
        Norm.Placement.AFTER,
        Collections.nCopies(layers, block),
        new Dropouts(dropout, dropout, 0, 0),
        bert ? BERT : ROBERTA,
        BLOCK);
  }
}
