package espalier.adapters.lora;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AdapterContents;
import espalier.adapters.AdapterException;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigHead;
import espalier.adapters.ModelFacts;
import espalier.adapters.PathMap;
import espalier.adapters.Swapping;
import espalier.adapters.Targets;
import espalier.adapters.TokenRows;
import espalier.adapters.Violations;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Int4Weight;
import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Settings of LoRA.
 *
 * @param head what all methods say
 * @param targets the layers concerned
 * @param r rank of A [r, in] and B [out, r], 1 or more
 * @param alpha numerator of the scaling
 * @param dropout probability that an input feature is dropped before the branch, in [0, 1]
 * @param rankPattern ranks by path
 * @param alphaPattern alphas by path
 * @param rslora whether the scaling is alpha / √r and not alpha / r
 * @param init how the factors start
 * @param variant what is computed
 * @param bias which biases of the base train
 * @param loraBias whether B has a trained bias
 * @param tokens rows of embeddings that are trained by themselves, or null
 * @param layerReplication ranges [start, end) of blocks that are strung together, or null
 * @param ensureWeightTying whether layers that share a weight share what is trained on it
 * @param qaloraGroupSize inputs that QALoRA averages
 * @param megatron kept for the round trip
 * @see <a href="https://arxiv.org/abs/2106.09685">LoRA</a>
 * @see <a href="https://arxiv.org/abs/2312.03732">Rank-stabilised LoRA</a>
 */
public record LoraConfig(
    ConfigHead head,
    Targets targets,
    int r,
    double alpha,
    double dropout,
    PathMap<Integer> rankPattern,
    PathMap<Double> alphaPattern,
    boolean rslora,
    LoraInit init,
    LoraVariant variant,
    BiasTraining bias,
    boolean loraBias,
    @Nullable TokenRows tokens,
    @Nullable List<List<Integer>> layerReplication,
    boolean ensureWeightTying,
    int qaloraGroupSize,
    Megatron megatron)
    implements AdapterConfig {

  private static final LoraConfig DEFAULTS = new LoraConfigBuilder().build();

  /** Checks every rule that needs no model, and tells all that are broken. */
  public LoraConfig {
    layerReplication = layerReplication == null ? null : List.copyOf(layerReplication);
    if (variant instanceof LoraVariant.Alora(var call) && call.isEmpty()) {
      variant = new LoraVariant.Plain();
    }
    var wrong = new Violations();
    LoraChecks.numbers(wrong, r, alpha, dropout, rankPattern, qaloraGroupSize);
    LoraChecks.targets(wrong, targets);
    LoraChecks.init(wrong, init);
    LoraChecks.evenRank(wrong, init, r, rankPattern);
    LoraChecks.variant(wrong, variant);
    LoraChecks.together(wrong, init, variant, loraBias, megatron);
    LoraChecks.replication(wrong, layerReplication);
    wrong.raise();
  }

  /** The reference's defaults: r 8, alpha 8, the architecture's usual layers. */
  public static LoraConfig defaults() {
    return DEFAULTS;
  }

  /** A builder that starts at the defaults. */
  public static LoraConfigBuilder builder() {
    return new LoraConfigBuilder();
  }

  /** A builder that starts here. */
  public LoraConfigBuilder toBuilder() {
    return new LoraConfigBuilder(this);
  }

  @Override
  public LoraFormat format() {
    return new LoraFormat();
  }

  @Override
  public LoraConfig withHead(ConfigHead other) {
    return toBuilder().head(other).build();
  }

  @Override
  public LoraConfig withTargets(Targets other) {
    return toBuilder().targets(other).build();
  }

  @Override
  public LoraConfig on(Map<String, Layer> layers, ModelFacts facts) {
    return SeparateExperts.renamed(this, layers, facts);
  }

  @Override
  public Map<String, PathMap<?>> patterns() {
    return Map.of("rank_pattern", rankPattern, "alpha_pattern", alphaPattern);
  }

  /** The rank at a path. */
  public int rankAt(String path) {
    return rankPattern.at(path, r);
  }

  /** The factor on B·A at a path. */
  public double scalingAt(String path) {
    double rank = rankAt(path);
    return alphaPattern.at(path, alpha) / (rslora ? Math.sqrt(rank) : rank);
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init random) {
    return LoraLayers.create(this, layer, path, random);
  }

  @Override
  public Adapter follow(Adapter leader, String leaderPath, Adaptable layer, String path) {
    return LoraTies.follow(this, leader, leaderPath, layer, path);
  }

  @Override
  public Swapping swapping(AdapterConfig next) {
    return LoraSwapping.of(this, next);
  }

  @Override
  public boolean knowsShards() {
    return true;
  }

  @Override
  public boolean unrepeatableStart() {
    return init.unrepeatable();
  }

  // KaSA needs it too, but takes nothing more from a base that was cut to the same rank already
  @Override
  public boolean needsItsBase() {
    return init.takenOut() || init instanceof LoraInit.Loftq;
  }

  @Override
  public @Nullable String withoutStartRefusal() {
    return MutatedStart.refusal(this);
  }

  @Override
  public AdapterContents withoutStart(Map<String, Tensor> trained, Map<String, Tensor> initial) {
    return init.takenOut()
        ? MutatedStart.subtract(this, trained, initial)
        : new AdapterContents(this, trained);
  }

  @Override
  public boolean adaptsAttention() {
    return true;
  }

  @Override
  public @Nullable Tensor penalty(Collection<Adapter> adapters) {
    return LoraPenalty.of(variant, adapters);
  }

  @Override
  public boolean readsPadding() {
    return variant instanceof LoraVariant.Velora velora && !velora.init().equals("random");
  }

  @Override
  public boolean needsWholeExamples() {
    return readsPadding() || variant instanceof LoraVariant.Alora;
  }

  @Override
  public @Nullable String missingForMerge(Adaptable layer) {
    return loraBias && layer.bias() == null
        ? "lora_bias can not be merged into a layer without a bias; keep the adapter beside the"
            + " base, or train without lora_bias"
        : null;
  }

  @Override
  public List<String> warnings(Adaptable layer) {
    var warnings = new ArrayList<String>();
    if (missingForMerge(layer) != null) {
      warnings.add("lora_bias is set but the layer has no bias, so the adapter can not be merged");
    }
    if (variant instanceof LoraVariant.Qalora
        && layer instanceof Linear linear
        && !(linear.quantised() instanceof Int4Weight)) {
      warnings.add(
          "use_qalora is meant for weights that are quantised in groups, which this one is not, so"
              + " it only costs accuracy here");
    }
    if (layer instanceof Convolution convolution && convolution.geometry().groups() > 1) {
      warnings.add("a convolution in groups can be adapted but not merged");
    }
    if (layer instanceof Embedding && dropout > 0) {
      warnings.add("lora_dropout has no effect on an embedding");
    }
    if (ParallelLayers.leavesWhole(this, layer)) {
      warnings.add(ParallelLayers.whole(layer));
    }
    return warnings;
  }

  @Override
  public void requireBeside(String name, AdapterConfig other) {
    boolean alike = other instanceof LoraConfig lora && lora.variant() instanceof LoraVariant.Kasa;
    if (variant instanceof LoraVariant.Kasa && !alike) {
      throw new AdapterException(
          "kasa_config changes the base for good, so such an adapter can not be on one model with %s, which has none; delete one of them first"
              .formatted(name));
    }
  }

  @Override
  public List<String> warnings(Adaptable layer, Adapter made) {
    var warnings = new ArrayList<>(warnings(layer));
    if (init instanceof LoraInit.LoraGa && layer instanceof Linear && made.residual() == null) {
      warnings.add(
          "init_lora_weights is lora_ga but no gradient was estimated, so it starts as with true;"
              + " attach with what LoraGa.preprocess prepared");
    }
    if (init instanceof LoraInit.Loftq && made instanceof LoraLinear lora && lora.scaling() != 1) {
      warnings.add(
          "loftq fits what quantising loses for a scaling of 1 but the scaling is %s; set lora_alpha to r"
              .formatted(lora.scaling()));
    }
    return warnings;
  }

  @Override
  public List<String> warnings(Map<String, AdapterConfig> others) {
    var warnings = new ArrayList<String>();
    String otherTask = LoraChecks.otherTask(variant, head.taskType());
    if (otherTask != null) {
      warnings.add(otherTask);
    }
    String refusal = changesBase() ? withoutStartRefusal() : null;
    if (refusal != null) {
      warnings.add(
          "the adapter can not be made plain LoRA for the untouched base later on: " + refusal);
    }
    others.forEach(
        (name, other) -> {
          if (variant instanceof LoraVariant.Kasa
              && other instanceof LoraConfig lora
              && !(lora.r() == r && lora.rankPattern().equals(rankPattern))) {
            warnings.add(
                "r differs from that of %s, so the base loses more than one of the two was trained with"
                    .formatted(name));
          }
          if (changesBase() || (other instanceof LoraConfig lora && lora.changesBase())) {
            warnings.add(
                ("the base is not the one that both adapters were trained on: %s or this one starts"
                        + " from factors that are taken out of the base")
                    .formatted(name));
          }
        });
    return warnings;
  }

  private boolean changesBase() {
    return init.takenOut();
  }
}
