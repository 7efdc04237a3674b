package espalier.recipes;

import espalier.training.AdamRates;
import espalier.training.LoraFa;
import espalier.training.LoraPlus;
import espalier.training.Riemannian;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/**
 * Which optimizer, and its own settings; what is null is the optimizer's default.
 *
 * @param type which one
 * @param optimizerClass who takes the step, for lora-plus and riemannian
 * @param betas memory of the two moments of Adam
 * @param eps added to the root of the second moment of Adam
 * @param biasCorrection of lora-fa: whether the moments' start at zero is made up for
 * @param r of lora-fa: the rank that the adapter must have, which has each layer's own anyway
 * @param loraAlpha of lora-fa: the alpha that the adapter must have
 * @param useRslora of lora-fa: whether the adapter must scale by √r
 * @param momentum of sgd
 * @param loraplusLrRatio of lora-plus: the learning rate of B to that of A
 * @param loraplusLrEmbedding of lora-plus: the learning rate of embeddings' factors
 * @param loraplusWeightDecay of lora-plus, whose groups do not read weight_decay
 * @param reg of riemannian: the damping of the inverses
 */
public record OptimizerSection(
    @Doc("Which optimizer") OptimizerType type,
    @Doc("Who takes the step, for lora-plus and riemannian; adamw if left out")
        @Nullable OptimizerType optimizerClass,
    @Doc("Memory of Adam's two moments, each in [0, 1)") @Nullable List<Double> betas,
    @Doc("Added to the root of Adam's second moment") @Nullable Double eps,
    @Doc("For lora-fa: make up for the moments' start at zero") @Nullable Boolean biasCorrection,
    @Doc("For lora-fa: the adapter's rank, to be sure of it") @Nullable Integer r,
    @Doc("For lora-fa: the adapter's alpha, to be sure of it") @Nullable Double loraAlpha,
    @Doc("For lora-fa: the adapter's use_rslora, to be sure of it") @Nullable Boolean useRslora,
    @Doc("For sgd, in [0, 1)") @Nullable Double momentum,
    @Doc("For lora-plus: the learning rate of B to that of A") @Nullable Double loraplusLrRatio,
    @Doc("For lora-plus: the learning rate of embeddings' factors")
        @Nullable Double loraplusLrEmbedding,
    @Doc("For lora-plus: decay of its groups, 0 if left out") @Nullable Double loraplusWeightDecay,
    @Doc("For riemannian: the damping of the inverses") @Nullable Double reg) {

  private static final Set<OptimizerType> STEPPERS =
      EnumSet.range(OptimizerType.ADAM, OptimizerType.SGD);

  /** Checks which settings go with which optimizer, and their ranges. */
  public OptimizerSection {
    var strangers = new ArrayList<String>();
    OptimizerType stepper = stepper(type, optimizerClass);
    boolean adam = stepper != OptimizerType.SGD;
    refuse(strangers, "optimizer_class", optimizerClass, type.wraps());
    refuse(strangers, "betas", betas, adam);
    refuse(strangers, "eps", eps, adam);
    refuse(strangers, "bias_correction", biasCorrection, type == OptimizerType.LORA_FA);
    refuse(strangers, "r", r, type == OptimizerType.LORA_FA);
    refuse(strangers, "lora_alpha", loraAlpha, type == OptimizerType.LORA_FA);
    refuse(strangers, "use_rslora", useRslora, type == OptimizerType.LORA_FA);
    refuse(strangers, "momentum", momentum, !adam);
    refuse(strangers, "loraplus_lr_ratio", loraplusLrRatio, type == OptimizerType.LORA_PLUS);
    refuse(
        strangers, "loraplus_lr_embedding", loraplusLrEmbedding, type == OptimizerType.LORA_PLUS);
    refuse(
        strangers, "loraplus_weight_decay", loraplusWeightDecay, type == OptimizerType.LORA_PLUS);
    refuse(strangers, "reg", reg, type == OptimizerType.RIEMANNIAN);
    if (!strangers.isEmpty()) {
      throw new RecipeException(
          "training.optimizer has %s, which %s does not read; leave it out or choose the optimizer that it belongs to"
              .formatted(
                  String.join(" and ", strangers),
                  stepper == type ? type.key() : type.key() + " over " + stepper.key()));
    }
    if (!STEPPERS.contains(stepper) && type.wraps()) {
      throw new RecipeException(
          "training.optimizer.optimizer_class is %s but must be one of %s"
              .formatted(stepper.key(), STEPPERS.stream().map(OptimizerType::key).toList()));
    }
    if (betas != null && betas.size() != 2) {
      throw new RecipeException(
          "training.optimizer.betas has %d numbers but must have two, such as [0.9, 0.999]"
              .formatted(betas.size()));
    }
    betas = betas == null ? null : List.copyOf(betas);
  }

  private static OptimizerType stepper(OptimizerType type, @Nullable OptimizerType inner) {
    return !type.wraps() ? type : inner == null ? OptimizerType.ADAMW : inner;
  }

  private static void refuse(
      List<String> strangers, String key, @Nullable Object value, boolean belongs) {
    if (value != null && !belongs) {
      strangers.add(key);
    }
  }

  /** An optimizer with its defaults. */
  public static OptimizerSection of(OptimizerType type) {
    return new OptimizerSection(
        type, null, null, null, null, null, null, null, null, null, null, null, null);
  }

  /** From its name, or from an object with its name and settings. */
  static OptimizerSection of(Section training) {
    JsonNode value = training.node().get("optimizer");
    if (!(value instanceof ObjectNode)) {
      return of(training.choice("optimizer", OptimizerType.ADAMW));
    }
    Section in = training.section("optimizer");
    return new OptimizerSection(
        in.choice("type", OptimizerType.ADAMW),
        in.has("optimizer_class") ? in.choice("optimizer_class", OptimizerType.ADAMW) : null,
        in.numbersOrNull("betas"),
        in.numberOrNull("eps"),
        in.has("bias_correction") ? in.flag("bias_correction", true) : null,
        in.has("r") ? in.integer("r", 0) : null,
        in.numberOrNull("lora_alpha"),
        in.has("use_rslora") ? in.flag("use_rslora", false) : null,
        in.numberOrNull("momentum"),
        in.numberOrNull("loraplus_lr_ratio"),
        in.numberOrNull("loraplus_lr_embedding"),
        in.numberOrNull("loraplus_weight_decay"),
        in.numberOrNull("reg"));
  }

  /** As a recipe has it: the name alone where no setting is given. */
  JsonNode json() {
    if (equals(of(type))) {
      return JsonNodeFactory.instance.stringNode(type.key());
    }
    ObjectNode out = JsonNodeFactory.instance.objectNode();
    out.put("type", type.key());
    if (optimizerClass != null) {
      out.put("optimizer_class", optimizerClass.key());
    }
    if (betas != null) {
      betas.forEach(out.putArray("betas")::add);
    }
    put(out, "eps", eps);
    if (biasCorrection != null) {
      out.put("bias_correction", biasCorrection);
    }
    if (r != null) {
      out.put("r", r);
    }
    put(out, "lora_alpha", loraAlpha);
    if (useRslora != null) {
      out.put("use_rslora", useRslora);
    }
    put(out, "momentum", momentum);
    put(out, "loraplus_lr_ratio", loraplusLrRatio);
    put(out, "loraplus_lr_embedding", loraplusLrEmbedding);
    put(out, "loraplus_weight_decay", loraplusWeightDecay);
    put(out, "reg", reg);
    return out;
  }

  private static void put(ObjectNode out, String key, @Nullable Double value) {
    if (value != null) {
      out.put(key, value.doubleValue());
    }
  }

  /** Who takes the step. */
  OptimizerType stepper() {
    return stepper(type, optimizerClass);
  }

  AdamRates rates() {
    AdamRates usual = type == OptimizerType.LORA_FA ? LoraFa.RATES : AdamRates.USUAL;
    return new AdamRates(
        betas == null ? usual.beta1() : betas.get(0),
        betas == null ? usual.beta2() : betas.get(1),
        eps == null ? usual.epsilon() : eps);
  }

  LoraPlus loraPlus(double learningRate) {
    return new LoraPlus(
        learningRate,
        loraplusLrRatio == null ? LoraPlus.RATIO : loraplusLrRatio,
        loraplusLrEmbedding == null ? LoraPlus.EMBEDDING_RATE : loraplusLrEmbedding,
        loraplusWeightDecay == null ? 0 : loraplusWeightDecay);
  }

  double momentumOrUsual() {
    return momentum == null ? 0.9 : momentum;
  }

  double regOrUsual() {
    return reg == null ? Riemannian.REG : reg;
  }
}
