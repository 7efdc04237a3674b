package espalier.adapters.shira;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AdapterContents;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigHead;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.Violations;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Settings of SHiRA.
 *
 * @param head what all methods say
 * @param targets the linear layers that are adapted
 * @param r a layer [out, in] gets r·(out + in) trained entries, as many numbers as LoRA of that
 *     rank; the update may be of full rank
 * @param mask how the entries are chosen
 * @param randomSeed seed of the random mask; null stands for one seed that is always the same
 * @param zeroStart whether the values start at zero; otherwise they are standard normal, for tests
 * @param options settings of the masks that the reference does not have
 * @param nonOverlapWith adapters of the same model whose entries are left out. Never saved
 */
public record ShiraConfig(
    ConfigHead head,
    Targets targets,
    int r,
    ShiraMask mask,
    @Nullable Long randomSeed,
    boolean zeroStart,
    MaskOptions options,
    List<String> nonOverlapWith)
    implements AdapterConfig {

  /** What {@code mask_type} says of an adapter that several were fused into. */
  static final String FUSED = "fused";

  /** Checks the numbers. */
  public ShiraConfig {
    nonOverlapWith = List.copyOf(nonOverlapWith);
    new Violations()
        .unless(r >= 1, "r is %d but must be 1 or more; 32 is the method's default", r)
        .raise();
  }

  /** The method's defaults: r 32, a random mask, the architecture's usual layers. */
  public static ShiraConfig defaults() {
    return new ShiraConfig(
        ConfigHead.empty(),
        Targets.byArchitecture(),
        32,
        ShiraMask.Known.RANDOM,
        null,
        true,
        MaskOptions.defaults(),
        List.of());
  }

  /** The same config with another number of entries. */
  public ShiraConfig withR(int rank) {
    return new ShiraConfig(
        head, targets, rank, mask, randomSeed, zeroStart, options, nonOverlapWith);
  }

  /** The same config with another choice of entries. */
  public ShiraConfig withMask(ShiraMask choice) {
    return new ShiraConfig(
        head, targets, r, choice, randomSeed, zeroStart, options, nonOverlapWith);
  }

  /** The same config with a mask function of the caller's. */
  public ShiraConfig withMask(String word, MaskFunction function) {
    return withMask(new ShiraMask.Custom(word, function));
  }

  /** The same config with another seed of the random mask. */
  public ShiraConfig withRandomSeed(@Nullable Long seed) {
    return new ShiraConfig(head, targets, r, mask, seed, zeroStart, options, nonOverlapWith);
  }

  /** The same config with values that start at zero, or anywhere. */
  public ShiraConfig withZeroStart(boolean on) {
    return new ShiraConfig(head, targets, r, mask, randomSeed, on, options, nonOverlapWith);
  }

  /** The same config with other settings of the masks. */
  public ShiraConfig withOptions(MaskOptions other) {
    return new ShiraConfig(head, targets, r, mask, randomSeed, zeroStart, other, nonOverlapWith);
  }

  /** The same config without the entries of these adapters. */
  public ShiraConfig withNonOverlapWith(String... adapters) {
    return new ShiraConfig(
        head, targets, r, mask, randomSeed, zeroStart, options, List.of(adapters));
  }

  @Override
  public ShiraConfig withHead(ConfigHead other) {
    return new ShiraConfig(other, targets, r, mask, randomSeed, zeroStart, options, nonOverlapWith);
  }

  @Override
  public ShiraConfig withTargets(Targets other) {
    return new ShiraConfig(head, other, r, mask, randomSeed, zeroStart, options, nonOverlapWith);
  }

  @Override
  public ShiraFormat format() {
    return new ShiraFormat();
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init random) {
    Linear linear = linear(layer, path);
    long count = count(linear, path);
    Support support =
        random.isBlank()
            ? Support.first(linear, count)
            : new MaskChoice(this, linear, path, random).support(count);
    return new ShiraLinear(this, linear, support, random);
  }

  /** Whether the entries are those that the reference draws, unless a file says otherwise. */
  boolean drawnByReference() {
    return mask == ShiraMask.Known.RANDOM && !options.perLayerSeed() && nonOverlapWith.isEmpty();
  }

  @Override
  public AdapterContents exportedAs(String method, Map<String, Tensor> tensors) {
    return ShiraExport.of(this, method, tensors);
  }

  /** A target as the layer that it must be. */
  Linear linear(Adaptable layer, String path) {
    if (!(layer instanceof Linear linear) || (linear.transposed() && !options.conv1d())) {
      throw new UnsupportedAdapterException(
          "%s is a %s but SHiRA adapts Linear only; take it out of target_modules%s"
              .formatted(
                  path,
                  layer.typeName(),
                  layer instanceof Linear ? ", or set mask_options.shira_conv1d" : ""));
    }
    return linear;
  }

  /** How many entries of a layer are trained. */
  long count(Linear layer, String path) {
    long size = Math.multiplyExact(layer.out(), layer.in());
    long count = Math.multiplyExact(r, layer.out() + layer.in());
    if (count > size && mask.word().equals(FUSED)) {
      return size; // the file decides; r is that of the largest layer
    }
    if (count > size) {
      throw new ConfigException(
          "%s is [%d, %d] with %d entries but r %d would train %d of them; take an r of at most %d"
              .formatted(
                  path,
                  layer.out(),
                  layer.in(),
                  size,
                  r,
                  count,
                  size / (layer.out() + layer.in())));
    }
    return count;
  }

  @Override
  public List<String> warnings(Adaptable layer) {
    boolean noChoice = mask instanceof ShiraMask.Custom(var _, var function) && function == null;
    return noChoice && !head.inferenceMode()
        ? List.of(
            "mask_type %s has no mask function here, so the entries can only come from a file"
                .formatted(mask.word()))
        : List.of();
  }
}
