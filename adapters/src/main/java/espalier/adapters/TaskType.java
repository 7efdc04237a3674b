package espalier.adapters;

import java.util.List;

/** What a model is trained for, as {@code task_type} names it. */
public enum TaskType {
  /** Classification of a text. */
  SEQ_CLS,
  /** An encoder-decoder that writes. */
  SEQ_2_SEQ_LM,
  /** A decoder that writes. */
  CAUSAL_LM,
  /** Classification of every token. */
  TOKEN_CLS,
  /** Marking an answer in a text. */
  QUESTION_ANS,
  /** Hidden states for other uses. */
  FEATURE_EXTRACTION;

  /** Names of the layers that are new for this task and are therefore trained and saved whole. */
  public List<String> heads() {
    return switch (this) {
      case SEQ_CLS, TOKEN_CLS -> List.of("classifier", "score");
      case QUESTION_ANS -> List.of("qa_outputs");
      case SEQ_2_SEQ_LM, CAUSAL_LM, FEATURE_EXTRACTION -> List.of();
    };
  }

  /** The same where only some architectures have them; a config names them on those alone. */
  List<String> rareHeads() {
    return heads().contains("classifier") ? List.of("pre_classifier") : List.of();
  }
}
