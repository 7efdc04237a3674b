package espalier.adapters.lora;

import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigHead;
import espalier.adapters.PathMap;
import espalier.adapters.Targets;
import espalier.adapters.TaskType;
import espalier.adapters.TokenRows;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Builds a {@link LoraConfig}; what is not said keeps its default. */
public final class LoraConfigBuilder {

  private ConfigHead head = ConfigHead.empty();
  private Targets targets = Targets.byArchitecture();
  private int r = 8;
  private double alpha = 8;
  private double dropout;
  private PathMap<Integer> rankPattern = PathMap.empty();
  private PathMap<Double> alphaPattern = PathMap.empty();
  private boolean rslora;
  private LoraInit init = new LoraInit.Uniform();
  private LoraVariant variant = new LoraVariant.Plain();
  private BiasTraining bias = BiasTraining.NONE;
  private boolean loraBias;
  private @Nullable TokenRows tokens;
  private @Nullable List<List<Integer>> layerReplication;
  private boolean ensureWeightTying;
  private int qaloraGroupSize = 16;
  private Megatron megatron = Megatron.none();

  LoraConfigBuilder() {}

  LoraConfigBuilder(LoraConfig from) {
    head = from.head();
    targets = from.targets();
    r = from.r();
    alpha = from.alpha();
    dropout = from.dropout();
    rankPattern = from.rankPattern();
    alphaPattern = from.alphaPattern();
    rslora = from.rslora();
    init = from.init();
    variant = from.variant();
    bias = from.bias();
    loraBias = from.loraBias();
    tokens = from.tokens();
    layerReplication = from.layerReplication();
    ensureWeightTying = from.ensureWeightTying();
    qaloraGroupSize = from.qaloraGroupSize();
    megatron = from.megatron();
  }

  /** What all methods say. */
  public LoraConfigBuilder head(ConfigHead value) {
    head = value;
    return this;
  }

  /** What the model is trained for. */
  public LoraConfigBuilder task(TaskType value) {
    head = head.withTaskType(value);
    return this;
  }

  /** The layers concerned. */
  public LoraConfigBuilder targets(Targets value) {
    targets = value;
    return this;
  }

  /** The rank. */
  public LoraConfigBuilder r(int value) {
    r = value;
    return this;
  }

  /** The numerator of the scaling. */
  public LoraConfigBuilder alpha(double value) {
    alpha = value;
    return this;
  }

  /** Dropout before the branch. */
  public LoraConfigBuilder dropout(double value) {
    dropout = value;
    return this;
  }

  /** Ranks by path; the first key that matches decides. */
  public LoraConfigBuilder rankPattern(Map<String, Integer> value) {
    rankPattern = new PathMap<>(value);
    return this;
  }

  /** Alphas by path; the first key that matches decides. */
  public LoraConfigBuilder alphaPattern(Map<String, Double> value) {
    alphaPattern = new PathMap<>(value);
    return this;
  }

  /** Whether the scaling is alpha / √r. */
  public LoraConfigBuilder rslora(boolean value) {
    rslora = value;
    return this;
  }

  /** How the factors start. Settings of other starts that a file had beside it are dropped. */
  public LoraConfigBuilder init(LoraInit value) {
    if (!value.equals(init)) {
      var kept = new HashMap<>(head.unknown());
      kept.keySet().removeAll(LoraInitFields.SETTINGS);
      head = head.withUnknown(kept);
    }
    init = value;
    return this;
  }

  /** What is computed. */
  public LoraConfigBuilder variant(LoraVariant value) {
    variant = value;
    return this;
  }

  /** Which biases of the base train. */
  public LoraConfigBuilder bias(BiasTraining value) {
    bias = value;
    return this;
  }

  /** Whether B has a trained bias. */
  public LoraConfigBuilder loraBias(boolean value) {
    loraBias = value;
    return this;
  }

  /** Rows of embeddings that are trained by themselves. */
  public LoraConfigBuilder tokens(@Nullable TokenRows value) {
    tokens = value;
    return this;
  }

  /** Ranges of blocks that are strung together. */
  public LoraConfigBuilder layerReplication(@Nullable List<List<Integer>> value) {
    layerReplication = value;
    return this;
  }

  /** Whether layers that share a weight share what is trained on it. */
  public LoraConfigBuilder ensureWeightTying(boolean value) {
    ensureWeightTying = value;
    return this;
  }

  /** Inputs that QALoRA averages. */
  public LoraConfigBuilder qaloraGroupSize(int value) {
    qaloraGroupSize = value;
    return this;
  }

  /** Kept for the round trip. */
  public LoraConfigBuilder megatron(Megatron value) {
    megatron = value;
    return this;
  }

  /**
   * The config.
   *
   * @throws espalier.adapters.ConfigException with every rule that is broken
   */
  public LoraConfig build() {
    return new LoraConfig(
        head,
        targets,
        r,
        alpha,
        dropout,
        rankPattern,
        alphaPattern,
        rslora,
        init,
        variant,
        bias,
        loraBias,
        tokens,
        layerReplication,
        ensureWeightTying,
        qaloraGroupSize,
        megatron);
  }
}
