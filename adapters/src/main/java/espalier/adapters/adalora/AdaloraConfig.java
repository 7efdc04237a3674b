package espalier.adapters.adalora;

import espalier.adapters.AdapterConfig;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigHead;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.Violations;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Settings of AdaLoRA.
 *
 * @param lora what it has in common with LoRA: layers, alpha, dropout, start, and biases; its rank
 *     has no effect
 * @param allocation how ranks are handed out
 * @param orthogonality weight of the penalty on factors that are not orthogonal, 0 or more
 * @param kept by the key of {@code lora_E}, which ranks are left; null where none was taken away
 */
public record AdaloraConfig(
    LoraConfig lora,
    Allocation allocation,
    double orthogonality,
    @Nullable Map<String, List<Boolean>> kept)
    implements AdapterConfig {

  /** Checks the numbers, and that LoRA's other settings are left alone. */
  public AdaloraConfig {
    kept = kept == null ? null : Map.copyOf(kept);
    var wrong = new Violations();
    allocation.check(wrong);
    boolean plain =
        lora.variant() instanceof LoraVariant.Plain
            && (lora.init() instanceof LoraInit.Uniform || lora.init() instanceof LoraInit.Unset);
    wrong
        .unless(orthogonality >= 0, "orth_reg_weight is %s but must be 0 or more", orthogonality)
        .unless(
            plain && !lora.loraBias() && lora.tokens() == null && lora.layerReplication() == null,
            "AdaLoRA has no variants, no starts but true and false, no lora_bias, no"
                + " trainable_token_indices and no layer_replication; leave them out")
        .raise();
  }

  /** The method's defaults for a number of training steps. */
  public static AdaloraConfig defaults(int totalStep) {
    return new AdaloraConfig(LoraConfig.defaults(), Allocation.defaults(totalStep), 0.5, null);
  }

  /** The same config with other settings of LoRA. */
  public AdaloraConfig withLora(LoraConfig other) {
    return new AdaloraConfig(other, allocation, orthogonality, kept);
  }

  /** The same config with ranks handed out in another way. */
  public AdaloraConfig withAllocation(Allocation other) {
    return new AdaloraConfig(lora, other, orthogonality, kept);
  }

  /** The same config with another weight of the penalty. */
  public AdaloraConfig withOrthogonality(double weight) {
    return new AdaloraConfig(lora, allocation, weight, kept);
  }

  @Override
  public ConfigHead head() {
    return lora.head();
  }

  @Override
  public AdaloraConfig withHead(ConfigHead other) {
    return withLora(lora.withHead(other));
  }

  @Override
  public Targets targets() {
    return lora.targets();
  }

  @Override
  public AdaloraConfig withTargets(Targets other) {
    return withLora(lora.withTargets(other));
  }

  @Override
  public BiasTraining bias() {
    return lora.bias();
  }

  @Override
  public AdaloraFormat format() {
    return new AdaloraFormat();
  }

  /** The rank that a file has on a layer; the first one where nothing was taken away. */
  int rankAt(String path) {
    if (kept != null) {
      for (Map.Entry<String, List<Boolean>> entry : kept.entrySet()) {
        if (entry.getKey().endsWith("." + path + ".lora_E")
            || entry.getKey().equals(path + ".lora_E")) {
          return (int) entry.getValue().stream().filter(Boolean::booleanValue).count();
        }
      }
    }
    return allocation.initR();
  }

  /** The factor on the branch. It keeps to the first rank when ranks are taken away. */
  double scaling() {
    double first = allocation.initR();
    return (lora.alpha() > 0 ? lora.alpha() : first) / (first + 1e-5);
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init init) {
    return switch (layer) {
      case Linear linear -> new AdaloraLinear(this, linear, path, init);
      case Convolution c when c.dimensions() == 2 && c.geometry().groups() == 1 ->
          new AdaloraConvolution(this, c, path, init);
      default ->
          throw new UnsupportedAdapterException(
              "%s is a %s but AdaLoRA adapts Linear, Conv1D and Conv2d in one group; take it out of target_modules"
                  .formatted(path, layer.typeName()));
    };
  }

  /**
   * The distance of A and B from orthogonal rows and columns, on average.
   *
   * @throws ConfigException if ranks would have to be taken away, which this library does not do
   */
  @Override
  public @Nullable Tensor penalty(Collection<Adapter> adapters) {
    if (allocation.targetR() < allocation.initR() && kept == null) {
      throw new ConfigException(
          "target_r is %d and init_r is %d, but ranks are not taken away in training here; set target_r to init_r, or train with LoRA"
              .formatted(allocation.targetR(), allocation.initR()));
    }
    Tensor sum = null;
    long factors = 0;
    for (Adapter adapter : adapters) {
      if (adapter instanceof AdaloraFactored own && adapter.training()) {
        Tensor penalty = own.factors().penalty();
        sum = sum == null ? penalty : sum.add(penalty);
        factors += 2;
      }
    }
    return sum == null ? null : sum.mul(new Scalar(orthogonality / factors));
  }

  @Override
  public List<String> warnings(Adaptable layer) {
    return lora.r() == 8
        ? List.of()
        : List.of("r is %d, which has no effect in AdaLoRA; set init_r".formatted(lora.r()));
  }
}
