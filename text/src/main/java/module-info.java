/** Tokenizers, chat templates, and what a row of training data becomes: token ids and labels. */
@org.jspecify.annotations.NullMarked
module espalier.text {
  exports espalier.text;

  requires ai.djl.api;
  requires ai.djl.tokenizers;
  requires org.jspecify;
  requires tools.jackson.databind;
}
