package espalier.recipes;

import espalier.adapters.Adapters;
import espalier.adapters.ConfigException;
import espalier.adapters.TargetException;
import espalier.adapters.lora.LoraConfig;
import espalier.nn.Adapter;
import espalier.nn.Embedding;
import espalier.training.Adam8bit;
import espalier.training.AdamW;
import espalier.training.Decay;
import espalier.training.LoraFa;
import espalier.training.LoraPair;
import espalier.training.LoraPlus;
import espalier.training.Optimizer;
import espalier.training.ParameterGroup;
import espalier.training.Riemannian;
import espalier.training.Sgd;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** Makes the optimizer of a recipe for the adapters of a model. */
public final class Optimizers {

  private final OptimizerSection how;
  private final Adapters adapters;

  private Optimizers(OptimizerSection how, Adapters adapters) {
    this.how = how;
    this.adapters = adapters;
  }

  /**
   * An optimizer over all that trains.
   *
   * @param learningRate before the schedule, above or equal 0
   * @param weightDecay above or equal 0; LoRA+ has one of its own and warns of this one
   * @param warnings told what a person should know
   * @throws ConfigException if a setting is out of its range, or LoRA-FA is told another rank,
   *     alpha or scaling than the adapter has
   * @throws TargetException if the optimizer is for LoRA's factors and none train
   */
  public static Optimizer of(
      OptimizerSection how,
      double learningRate,
      double weightDecay,
      Adapters adapters,
      Consumer<String> warnings) {
    try {
      return new Optimizers(how, adapters).make(learningRate, weightDecay, warnings);
    } catch (ConfigException | TargetException e) {
      throw e;
    } catch (IllegalArgumentException e) { // the optimizers know no configs of adapters
      var named = new ConfigException("training.optimizer: " + e.getMessage());
      named.initCause(e);
      throw named;
    }
  }

  private Optimizer make(double learningRate, double weightDecay, Consumer<String> warnings) {
    var all = new ParameterGroup("adapter", adapters.parameters(), learningRate, weightDecay);
    return switch (how.type()) {
      case LORA_PLUS -> {
        LoraPlus plus = how.loraPlus(learningRate);
        if (weightDecay != 0) {
          warnings.accept(
              "training.weight_decay is %s but has no effect because lora-plus gives each of its groups a decay of its own; say it as loraplus_weight_decay"
                  .formatted(weightDecay));
        }
        plus.warnings().forEach(warnings);
        yield stepper(plus.groups(all.parameters()));
      }
      case LORA_FA -> {
        requireAgreement();
        requirePairs("lora-fa", LoraPairs.of(adapters).values().stream());
        boolean corrected = how.biasCorrection() == null || how.biasCorrection();
        yield new LoraFa(all, LoraPairs.of(adapters), how.rates(), corrected);
      }
      case RIEMANNIAN -> {
        requirePairs(
            "riemannian",
            LoraPairs.of(adapters).values().stream().filter(Riemannian::preconditions));
        yield new Riemannian(
            stepper(List.of(all)), LoraPairs.of(adapters).values(), how.regOrUsual());
      }
      case ADAM, ADAMW, ADAM8BIT, ADAMW8BIT, PAGED_ADAM8BIT, PAGED_ADAMW8BIT, SGD ->
          stepper(List.of(all));
    };
  }

  /** What LoRA-FA is told of the adapter must be so; it reads each layer's own numbers. */
  private void requireAgreement() {
    for (String name : adapters.active()) {
      if (adapters.config(name) instanceof LoraConfig lora) {
        requireSame("r", how.r(), lora.r(), name);
        requireSame("lora_alpha", how.loraAlpha(), lora.alpha(), name);
        requireSame("use_rslora", how.useRslora(), lora.rslora(), name);
      }
    }
  }

  private static void requireSame(String key, @Nullable Object said, Object own, String name) {
    if (said != null && !said.equals(own)) {
      throw new ConfigException(
          "training.optimizer.%s is %s but the adapter %s has %s; leave it out, since lora-fa reads it of each layer"
              .formatted(key, said, name, own));
    }
  }

  private static void requirePairs(String type, Stream<LoraPair> pairs) {
    if (pairs.findAny().isEmpty()) {
      throw new TargetException(
          "training.optimizer is %s but no layer has a lora_A and a lora_B that trains; give it a LoRA adapter, or choose adamw"
              .formatted(type));
    }
  }

  private Optimizer stepper(List<ParameterGroup> groups) {
    return switch (how.stepper()) {
      case ADAM -> new AdamW(groups, how.rates(), Decay.IN_GRADIENT);
      case ADAMW -> new AdamW(groups, how.rates(), Decay.DECOUPLED);
      case ADAM8BIT -> inBytes(groups, Decay.IN_GRADIENT, false);
      case ADAMW8BIT -> inBytes(groups, Decay.DECOUPLED, false);
      case PAGED_ADAM8BIT -> inBytes(groups, Decay.IN_GRADIENT, true);
      case PAGED_ADAMW8BIT -> inBytes(groups, Decay.DECOUPLED, true);
      case SGD -> new Sgd(groups, how.momentumOrUsual());
      case LORA_PLUS, LORA_FA, RIEMANNIAN ->
          throw new IllegalArgumentException(how.stepper().key() + " takes no step for another");
    };
  }

  private Optimizer inBytes(List<ParameterGroup> groups, Decay decay, boolean paged) {
    return new Adam8bit(groups, how.rates(), decay, onEmbeddings(), paged);
  }

  private Predicate<String> onEmbeddings() {
    Set<Tensor> tensors = Collections.newSetFromMap(new IdentityHashMap<>());
    for (String name : adapters.names()) {
      for (Adapter adapter : adapters.on(name).values()) {
        if (adapter.layer() instanceof Embedding) {
          tensors.addAll(adapter.parameters().values());
        }
      }
    }
    Map<String, Tensor> parameters = adapters.parameters();
    return key -> tensors.contains(parameters.get(key));
  }
}
