package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.zeros_like;

import espalier.adapters.AdapterContents;
import espalier.adapters.ConfigException;
import espalier.adapters.StateMismatchException;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Makes an adapter that was trained over a residual base one for the untouched base: since W_res =
 * W − s·B₀·A₀, the trained model W_res + s·B·A is W + s·[B, −B₀]·[A; A₀], plain LoRA of twice the
 * rank.
 *
 * @see <a href="https://arxiv.org/abs/2404.02948">PiSSA, appendix C</a>
 */
public final class MutatedStart {

  private static final List<String> A = List.of("lora_A.weight", "lora_embedding_A");
  private static final List<String> B = List.of("lora_B.weight", "lora_embedding_B");

  private MutatedStart() {}

  /**
   * Subtracts the first factors from the trained ones.
   *
   * @param config of the trained adapter
   * @param trained A [r, in] and B [out, r] by their key, and whatever else was trained, which is
   *     taken over
   * @param initial A₀ and B₀ by the same keys; a pair that is missing took nothing out
   * @return A [2r, in] and B [out, 2r], float32, with the config that belongs to them
   * @throws ConfigException if no settings give them the same scaling, or the variant is none that
   *     adds B·A
   * @throws StateMismatchException if two shapes differ
   */
  public static AdapterContents subtract(
      LoraConfig config, Map<String, Tensor> trained, Map<String, Tensor> initial) {
    LoraConfig plain = doubled(config);
    for (String key : initial.keySet()) {
      if (!trained.containsKey(key)) {
        throw new StateMismatchException(
            "%s is among the initial factors but not among the trained ones; the two are of different adapters"
                .formatted(key));
      }
    }
    var tensors = new LinkedHashMap<String, Tensor>();
    try (var _ = new NoGradGuard()) {
      trained.forEach(
          (key, tensor) -> {
            boolean a = A.stream().anyMatch(key::endsWith);
            boolean b = B.stream().anyMatch(key::endsWith);
            tensors.put(
                key, a || b ? joined(config, key, tensor, initial.get(key), a ? 0 : 1) : tensor);
          });
    }
    return new AdapterContents(plain, tensors);
  }

  private static Tensor joined(
      LoraConfig config, String key, Tensor trained, @Nullable Tensor initial, long axis) {
    Tensor now = trained.detach().to(ScalarType.Float);
    if (initial == null) {
      List<String> parameters = config.targets().parameters();
      if (parameters != null && !parameters.isEmpty()) {
        throw new ConfigException(
            "target_parameters lie by expert in %s and have no initial factors, so the rank can not be doubled; keep the adapter as it was trained"
                .formatted(key));
      }
      return pair(now, zeros_like(now), axis);
    }
    if (!Arrays.equals(trained.shape(), initial.shape())) {
      throw new StateMismatchException(
          "%s is %s after training but %s at the start; the two are of different adapters"
              .formatted(key, Arrays.toString(trained.shape()), Arrays.toString(initial.shape())));
    }
    Tensor first = initial.detach().to(ScalarType.Float);
    return pair(now, axis == 0 ? first : first.neg(), axis);
  }

  private static Tensor pair(Tensor one, Tensor two, long axis) {
    var both = new TensorVector();
    both.push_back(one);
    both.push_back(two);
    return cat(both, axis);
  }

  /**
   * The config with twice the rank everywhere and the same scaling, which starts plainly.
   *
   * @throws ConfigException if there is none
   */
  public static LoraConfig doubled(LoraConfig config) {
    String refusal = refusal(config);
    if (refusal != null) {
      throw new ConfigException(refusal);
    }
    var ranks = new LinkedHashMap<String, Integer>();
    config.rankPattern().entries().forEach((key, r) -> ranks.put(key, 2 * r));
    var alphas = new LinkedHashMap<String, Double>();
    config.alphaPattern().entries().forEach((key, alpha) -> alphas.put(key, 2 * alpha));
    return config.toBuilder()
        .r(2 * config.r())
        .alpha(config.alpha() * (config.rslora() ? Math.sqrt(2) : 2))
        .rankPattern(ranks)
        .alphaPattern(alphas)
        .init(new LoraInit.Uniform())
        .build();
  }

  /** Why an adapter with these settings can not be converted, as a sentence, or null if it can. */
  static @Nullable String refusal(LoraConfig config) {
    if (config.rslora() && !(config.rankPattern().isEmpty() && config.alphaPattern().isEmpty())) {
      return "use_rslora together with rank_pattern or alpha_pattern can not be converted to twice"
          + " the rank; keep the adapter as it was trained";
    }
    return switch (config.variant()) {
      case LoraVariant.Plain(), LoraVariant.Dora(), LoraVariant.Velora _ -> null;
      default ->
          "%s computes more than B·A, so a start over it can not be converted; keep the adapter as it was trained"
              .formatted(config.variant().field());
    };
  }

  /**
   * Checks that factors may be the first ones of a start.
   *
   * @param initial the config that lies beside them
   * @throws ConfigException if loading them would change the base once more
   */
  public static void requireInitial(LoraConfig initial) {
    if (initial.init().takenOut()) {
      throw new ConfigException(
          "init_lora_weights of the initial adapter is %s but true is needed: it is the factors alone, saved before training; save it with true"
              .formatted(LoraFormat.word(initial.init())));
    }
  }

  /** What the user should know about converting an adapter with this start, sentences. */
  public static List<String> warnings(LoraConfig trained) {
    return trained.init().takenOut() || trained.init() instanceof LoraInit.Uniform
        ? List.of()
        : List.of(
            "init_lora_weights is %s, which takes no factors out of the base; subtracting them gives another model than the one that was trained"
                .formatted(LoraFormat.word(trained.init())));
  }
}
