package espalier.models;

/** The parts that a stack and its blocks can have. Which ones are there, a family's names say. */
enum Part {
  // of a stack
  TOKENS,
  TOKEN_TYPES,
  POSITIONS,
  EMBEDDING_NORM,
  PROJECT_IN,
  PROJECT_OUT,
  BLOCKS,
  FINAL_NORM,

  // of a block
  Q,
  K,
  V,
  QKV,
  O,
  Q_NORM,
  K_NORM,
  RELATIVE_BIAS,
  ATTENTION_NORM,
  ATTENTION_POST_NORM,
  CROSS_Q,
  CROSS_K,
  CROSS_V,
  CROSS_O,
  CROSS_NORM,
  GATE,
  UP,
  DOWN,
  ROUTER,
  EXPERTS_GATE_UP,
  EXPERTS_DOWN,
  FEED_NORM,
  FEED_POST_NORM
}
