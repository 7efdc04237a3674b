package espalier.adapters.lora;

import espalier.adapters.PathMap;
import espalier.adapters.Targets;
import espalier.adapters.TaskType;
import espalier.adapters.Violations;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** The rules of a {@link LoraConfig} that need no model. */
final class LoraChecks {

  private static final Set<String> VELORA_INITS =
      Set.of("batch_average", "batch_average_once", "random");

  private LoraChecks() {}

  static void numbers(
      Violations wrong,
      int r,
      double alpha,
      double dropout,
      PathMap<Integer> ranks,
      int qaloraGroup) {
    wrong
        .unless(r >= 1, "r is %d but a rank is 1 or more; 8 is the default", r)
        .unless(Double.isFinite(alpha), "lora_alpha is %s but a finite number is needed", alpha)
        .unless(
            dropout >= 0 && dropout <= 1,
            "lora_dropout is %s but must lie in [0, 1]; 0 turns it off",
            dropout)
        .unless(
            qaloraGroup >= 1,
            "qalora_group_size is %d but a group has 1 input or more; 16 is the default",
            qaloraGroup);
    ranks
        .entries()
        .forEach(
            (key, rank) ->
                wrong.unless(
                    rank >= 1, "rank_pattern has %d for %s but a rank is 1 or more", rank, key));
  }

  static void targets(Violations wrong, Targets targets) {
    boolean pattern = targets.layersPattern() != null && !targets.layersPattern().isEmpty();
    wrong.unless(
        !pattern || targets.layers() != null,
        "layers_pattern is set but layers_to_transform is not; say which layers, or leave the"
            + " pattern out");
  }

  static void init(Violations wrong, LoraInit init) {
    switch (init) {
      case LoraInit.FastPissa(int n) ->
          wrong.unless(n >= 0, "pissa_niter_%d needs 0 iterations or more; 16 is usual", n);
      case LoraInit.Loftq(int bits, int n) ->
          wrong
              .unless(bits == 4 || bits == 8, "loftq_bits is %d but 4 and 8 are known", bits)
              .unless(n >= 1, "loftq_iter is %d but one round or more is needed", n);
      case LoraInit.Eva eva ->
          wrong
              .unless(eva.rho() >= 1, "eva_config.rho is %s but 1 or more is needed", eva.rho())
              .unless(
                  eva.tau() >= 0 && eva.tau() <= 1,
                  "eva_config.tau is %s but must lie in [0, 1]",
                  eva.tau());
      case LoraInit.LoraGa ga ->
          wrong.unless(
              ga.stableGamma() >= 1,
              "lora_ga_config.stable_gamma is %d but 1 or more is needed; 16 is the default",
              ga.stableGamma());
      default -> {}
    }
  }

  static void evenRank(Violations wrong, LoraInit init, int r, PathMap<Integer> ranks) {
    if (!(init instanceof LoraInit.Orthogonal)) {
      return;
    }
    String rule = "but init_lora_weights orthogonal halves the rank; give an even one";
    wrong.unless(r % 2 == 0, "r is %d " + rule, r);
    ranks
        .entries()
        .forEach(
            (key, rank) ->
                wrong.unless(rank % 2 == 0, "rank_pattern has %d for %s " + rule, rank, key));
  }

  static void variant(Violations wrong, LoraVariant variant) {
    switch (variant) {
      case LoraVariant.Velora(int groups, double scale, String init) ->
          wrong
              .unless(groups >= 1, "velora_config.num_groups is %d but 1 or more is needed", groups)
              .unless(scale > 0, "velora_config.scale is %s but more than 0 is needed", scale)
              .unless(
                  VELORA_INITS.contains(init),
                  "velora_config.init_type is %s but batch_average, batch_average_once and random"
                      + " are known",
                  init);
      case LoraVariant.Monteclora m ->
          wrong
              .unless(
                  m.samples() >= 1,
                  "monteclora_config.num_samples is %d but 1 or more is needed",
                  m.samples())
              .unless(
                  m.dirichletPrior() > 0,
                  "monteclora_config.dirichlet_prior is %s but more than 0 is needed",
                  m.dirichletPrior())
              .unless(
                  m.bufferSize() >= 1,
                  "monteclora_config.buffer_size is %d but 1 or more is needed",
                  m.bufferSize());
      case LoraVariant.Bdlora bd -> {
        wrong.unless(
            bd.blocks() >= 1, "use_bdlora.nblocks is %d but 1 or more is needed", bd.blocks());
        List<String> both =
            bd.a() == null || bd.b() == null
                ? List.of()
                : bd.a().stream().filter(bd.b()::contains).toList();
        wrong.unless(
            both.isEmpty(),
            "use_bdlora names %s for A and for B but only one of the two can be block-diagonal;"
                + " take it out of one list",
            both);
      }
      case LoraVariant.Arrow arrow ->
          wrong
              .unless(
                  arrow.topK() >= 1,
                  "arrow_config.top_k is %d but 1 or more is needed",
                  arrow.topK())
              .unless(
                  arrow.temperature() > 0,
                  "arrow_config.router_temperature is %s but more than 0 is needed",
                  arrow.temperature());
      case LoraVariant.Kasa(double beta, double gamma) ->
          wrong
              .unless(beta >= 0, "kasa_config.beta is %s but must not be negative", beta)
              .unless(gamma >= 0, "kasa_config.gamma is %s but must not be negative", gamma);
      case LoraVariant.Plain(), LoraVariant.Dora(), LoraVariant.Alora _, LoraVariant.Qalora _ -> {}
    }
  }

  static void together(
      Violations wrong, LoraInit init, LoraVariant variant, boolean loraBias, Megatron megatron) {
    boolean plain = variant instanceof LoraVariant.Plain;
    boolean dora = variant instanceof LoraVariant.Dora;
    wrong
        .unless(
            plain || !(init instanceof LoraInit.Mica),
            "init_lora_weights mica and %s exclude each other; choose one",
            variant.field())
        .unless(
            !(variant instanceof LoraVariant.Bdlora) || startsPlainly(init),
            "use_bdlora draws its own factors; set init_lora_weights to true, false or gaussian")
        .unless(
            !(variant instanceof LoraVariant.Qalora) || startsPlainly(init),
            "use_qalora draws its own A, so that no other start can be had with it; set"
                + " init_lora_weights to true, false or gaussian")
        .unless(
            !dora || !loraBias, "use_dora and lora_bias exclude each other; turn one of them off")
        .unless(
            !dora || megatron.config() == null,
            "use_dora and megatron_config exclude each other; turn one of them off")
        .unless(
            !loraBias || init instanceof LoraInit.Uniform || init instanceof LoraInit.Unset,
            "lora_bias needs init_lora_weights true or false; other starts know no bias")
        .unless(
            megatron.config() == null || megatron.core().startsWith("megatron."),
            "megatron_core is %s but a module of megatron is needed, such as megatron.core",
            megatron.core());
  }

  /** What to know of a variant that is made for another task than a config names, or null. */
  static @Nullable String otherTask(LoraVariant variant, @Nullable TaskType task) {
    return variant instanceof LoraVariant.Alora && task != TaskType.CAUSAL_LM
        ? "alora_invocation_tokens needs a causal language model but task_type is " + task
        : null;
  }

  private static boolean startsPlainly(LoraInit init) {
    return switch (init) {
      case LoraInit.Uniform(), LoraInit.Unset(), LoraInit.Gaussian() -> true;
      default -> false;
    };
  }

  static void replication(Violations wrong, @Nullable List<List<Integer>> ranges) {
    if (ranges == null) {
      return;
    }
    for (List<Integer> range : ranges) {
      wrong.unless(
          range.size() == 2 && range.get(0) >= 0 && range.get(0) < range.get(1),
          "layer_replication has %s but a range is [start, end) with start before end",
          range);
    }
  }
}
