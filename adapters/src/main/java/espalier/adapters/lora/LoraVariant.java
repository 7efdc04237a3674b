package espalier.adapters.lora;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What a LoRA adapter computes: the plain product, or one of its relatives with its settings. An
 * adapter is of one variant.
 */
public sealed interface LoraVariant {

  /** The name of the setting that asks for this variant, for messages. */
  String field();

  /** s·B·A·x. */
  record Plain() implements LoraVariant {
    @Override
    public String field() {
      return "plain LoRA";
    }
  }

  /** Direction by LoRA, magnitude trained apart. */
  record Dora() implements LoraVariant {
    @Override
    public String field() {
      return "use_dora";
    }
  }

  /**
   * Backward from compressed inputs.
   *
   * @param groups sub-tokens an input is cut into
   * @param scale factor on the reconstruction
   * @param init batch_average, batch_average_once or random
   */
  record Velora(int groups, double scale, String init) implements LoraVariant {
    @Override
    public String field() {
      return "velora_config";
    }
  }

  /**
   * Active from the last occurrence of a sequence of tokens.
   *
   * @param tokens the sequence
   */
  record Alora(List<Integer> tokens) implements LoraVariant {
    /** Copies the list. */
    public Alora {
      tokens = List.copyOf(tokens);
    }

    @Override
    public String field() {
      return "alora_invocation_tokens";
    }
  }

  /**
   * Noise on A, drawn anew for each training step.
   *
   * @param samples draws that are mixed
   * @param entropy whether the mixture's squared weights are added to the loss
   * @param dirichletPrior concentration of the prior over mixtures
   * @param sampleScaler factor on the noise
   * @param klLossWeight factor on the divergence that is added to the loss
   * @param bufferSize draws that are prepared at once
   */
  record Monteclora(
      int samples,
      boolean entropy,
      double dirichletPrior,
      double sampleScaler,
      double klLossWeight,
      int bufferSize)
      implements LoraVariant {
    @Override
    public String field() {
      return "monteclora_config";
    }
  }

  /**
   * Block-diagonal factors, so that ranks of a cluster need not talk.
   *
   * @param a parts of paths whose A is block-diagonal, or null
   * @param b parts of paths whose B is block-diagonal, or null
   * @param blocks number of blocks
   * @param strict whether every target must be in one of the lists
   */
  record Bdlora(@Nullable List<String> a, @Nullable List<String> b, int blocks, boolean strict)
      implements LoraVariant {
    /** Copies the lists. */
    public Bdlora {
      a = a == null ? null : List.copyOf(a);
      b = b == null ? null : List.copyOf(b);
    }

    @Override
    public String field() {
      return "use_bdlora";
    }
  }

  /**
   * Routing every token to some of many adapters.
   *
   * @param topK adapters a token
   * @param temperature of the softmax over them
   * @param generalKnowledge whether the mean of general adapters is subtracted
   * @param seed of the start of the power iteration, or null
   * @param tasks names of the adapters that are routed to
   * @param generals names of the adapters whose mean is subtracted
   */
  record Arrow(
      int topK,
      double temperature,
      boolean generalKnowledge,
      @Nullable Integer seed,
      @Nullable List<String> tasks,
      @Nullable List<String> generals)
      implements LoraVariant {
    /** Copies the lists. */
    public Arrow {
      tasks = tasks == null ? null : List.copyOf(tasks);
      generals = generals == null ? null : List.copyOf(generals);
    }

    @Override
    public String field() {
      return "arrow_config";
    }
  }

  /**
   * A diagonal between the factors, over a base without its smallest components.
   *
   * @param beta weight of the diagonal's square in the loss
   * @param gamma weight of the factors' departure from orthogonality in the loss
   */
  record Kasa(double beta, double gamma) implements LoraVariant {
    @Override
    public String field() {
      return "kasa_config";
    }
  }

  /**
   * Inputs averaged over the groups of a quantised weight.
   *
   * @param strict whether a layer that is not quantised in groups is an error and not a warning
   */
  record Qalora(boolean strict) implements LoraVariant {
    /** On layers that are quantised in groups only. */
    public Qalora() {
      this(true);
    }

    @Override
    public String field() {
      return "use_qalora";
    }
  }
}
