package espalier.adapters.miss;

import espalier.adapters.AdapterConfig;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigHead;
import espalier.adapters.Modules;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.Violations;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.List;

/**
 * Settings of MiSS.
 *
 * @param head what all methods say
 * @param targets the layers that get the branch
 * @param r width of the shards that the input is divided into, 1 or more
 * @param dropout probability that an input feature is dropped before the branch, in [0, 1]
 * @param miniR width of the one block of {@link MissForm#MINI}, a divisor of the layer's outputs
 * @param form which form is computed
 * @param bias which biases of the base train
 */
public record MissConfig(
    ConfigHead head,
    Targets targets,
    int r,
    double dropout,
    int miniR,
    MissForm form,
    BiasTraining bias)
    implements AdapterConfig {

  /** Checks the numbers. */
  public MissConfig {
    new Violations()
        .unless(r >= 1, "r is %d but a shard has 1 feature or more; 64 is the default", r)
        .unless(
            dropout >= 0 && dropout <= 1,
            "miss_dropout is %s but must lie in [0, 1]; 0 turns it off",
            dropout)
        .unless(miniR >= 1, "mini_r is %d but a block has 1 column or more", miniR)
        .unless(
            targets.layers() == null || !(targets.modules() instanceof Modules.Matching),
            "layers_to_transform needs target_modules as a list of names")
        .raise();
  }

  /** The method's defaults: r 64, the architecture's usual layers. */
  public static MissConfig defaults() {
    return new MissConfig(
        ConfigHead.empty(),
        Targets.byArchitecture(),
        64,
        0,
        1,
        MissForm.BALANCED,
        BiasTraining.NONE);
  }

  /** The same config with shards of another width. */
  public MissConfig withR(int width) {
    return new MissConfig(head, targets, width, dropout, miniR, form, bias);
  }

  /** The same config with another dropout. */
  public MissConfig withDropout(double probability) {
    return new MissConfig(head, targets, r, probability, miniR, form, bias);
  }

  /** The same config in another form; {@code mini} only counts for {@link MissForm#MINI}. */
  public MissConfig withForm(MissForm other, int mini) {
    return new MissConfig(head, targets, r, dropout, mini, other, bias);
  }

  @Override
  public MissConfig withHead(ConfigHead other) {
    return new MissConfig(other, targets, r, dropout, miniR, form, bias);
  }

  @Override
  public MissConfig withTargets(Targets other) {
    return new MissConfig(head, other, r, dropout, miniR, form, bias);
  }

  @Override
  public MissFormat format() {
    return new MissFormat();
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init init) {
    if (!(layer instanceof Linear linear)) {
      throw new UnsupportedAdapterException(
          "%s is a %s but MiSS adapts Linear and Conv1D; take it out of target_modules"
              .formatted(path, layer.typeName()));
    }
    if (r > linear.in()) {
      throw new ConfigException(
          "r is %d but %s has %d inputs; choose %d or less"
              .formatted(r, path, linear.in(), linear.in()));
    }
    if (form == MissForm.MINI && linear.out() % miniR != 0) {
      throw new ConfigException(
          "mini_r is %d but %s has %d outputs; choose a divisor of that"
              .formatted(miniR, path, linear.out()));
    }
    if (form == MissForm.BAT && (linear.in() % r != 0 || linear.out() % r != 0)) {
      throw new ConfigException(
          "r is %d but %s is [%d, %d], both of which it must divide with init_weights bat"
              .formatted(r, path, linear.out(), linear.in()));
    }
    return new MissLinear(this, linear, init);
  }

  @Override
  public List<String> warnings(Adaptable layer) {
    return form == MissForm.BAT && dropout > 0
        ? List.of("miss_dropout has no effect with init_weights bat")
        : List.of();
  }
}
