package espalier.checkpoints.gguf;

/** The settings of a mixture of experts that have one value only in Mixtral and Qwen3. */
final class MixtureSettings {

  private static final int SOFTMAX = 1;

  /** Eight times what any model has; each has names of its own to be kept. */
  private static final int MOST_EXPERTS = 4096;

  private MixtureSettings() {}

  /** The number of experts; 0 for a model that is no mixture. */
  static long experts(Settings settings) {
    long experts = settings.integer("expert_count", 0);
    if (experts > MOST_EXPERTS) {
      throw settings.refused(
          "expert_count", "is %d, and more than %d are not read".formatted(experts, MOST_EXPERTS));
    }
    return experts;
  }

  static void refuseOthers(Settings settings) {
    settings.only("expert_gating_func", SOFTMAX);
    settings.only("expert_weights_norm", true);
    settings.only("expert_shared_count", 0);
    settings.only("expert_shared_feed_forward_length", 0);
    settings.only("expert_group_count", 0);
    settings.only("expert_group_used_count", 0);
    settings.only("leading_dense_block_count", 0);
    // 0 means that the key says nothing, and so does 1
    if (settings.number("expert_weights_scale", 1) != 0) {
      settings.only("expert_weights_scale", 1);
    }
  }
}
