package espalier.adapters.shira;

import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.createCPUGenerator;
import static org.bytedeco.pytorch.global.torch.ones;
import static org.bytedeco.pytorch.global.torch.randperm;

import espalier.adapters.ConfigException;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.Arrays;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Generator;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** Chooses the trained entries of one layer. */
final class MaskChoice {

  /** The seed of a generator that was given none, in the reference's runtime. */
  private static final long DEFAULT_SEED = 67280421310721L;

  /** Under these names a gradient, or what was chosen by it, is handed over before attaching. */
  static final String GRADIENT = "gradient";

  static final String POSITIONS = "positions";

  private final ShiraConfig config;
  private final Linear layer;
  private final String path;
  private final Init init;
  private final long out;
  private final long in;

  MaskChoice(ShiraConfig config, Linear layer, String path, Init init) {
    this.config = config;
    this.layer = layer;
    this.path = path;
    this.init = init;
    out = layer.out();
    in = layer.in();
  }

  /** So many entries, in order. */
  Support support(long count) {
    try (var _ = new PointerScope()) {
      Tensor found = config.mask().needsGradient() ? init.prepared(POSITIONS) : null;
      return new Support(out, in, found == null ? positions(count) : requireCount(found, count));
    }
  }

  /** Flat positions of so many entries, ascending, int64 [K]. */
  Tensor positions(long count) {
    Tensor free = free(count);
    Tensor weight = layer.originalWeight();
    return switch (config.mask()) {
      case ShiraMask.Known known ->
          switch (known) {
            case RANDOM -> random(count, free);
            case WEIGHT_MAGNITUDE -> TopEntries.of(weight.abs(), count, free);
            case GRADIENT -> TopEntries.of(gradient().abs(), count, free);
            case SNIP -> TopEntries.of(gradient().mul(weight).abs(), count, free);
            case STRUCT -> struct(count, free);
          };
      case ShiraMask.Custom(var word, var function) -> custom(word, function, count, free);
    };
  }

  private Tensor requireCount(Tensor positions, long count) {
    if (positions.numel() != count) {
      throw new ConfigException(
          "%d entries of %s were chosen by a calibration but r %d needs %d; calibrate with the config that is attached"
              .formatted(positions.numel(), path, config.r(), count));
    }
    return positions;
  }

  /** What may be chosen, bool [out · in], or null for everything. */
  private @Nullable Tensor free(long count) {
    if (config.nonOverlapWith().isEmpty()) {
      return null;
    }
    Tensor free = ones(new long[] {out * in}, new TensorOptions(ScalarType.Bool));
    for (String name : config.nonOverlapWith()) {
      Adapter other = layer.adapters().find(name);
      if (other instanceof ShiraLinear shira) {
        free.index_fill_(0, shira.support().positions(), new Scalar(0));
      } else if (other != null) {
        throw new ConfigException(
            "%s has the adapter %s of non_overlap_with, which is not SHiRA and may change every entry"
                .formatted(path, name));
      }
    }
    long left = free.sum().item_long();
    if (left < count) {
      throw new ConfigException(
          "%s has %d entries that %s leave free but r %d needs %d; take a smaller r, or allow an overlap"
              .formatted(path, left, config.nonOverlapWith(), config.r(), count));
    }
    return free;
  }

  private Tensor random(long count, @Nullable Tensor free) {
    return random(out * in, count, generator(), free);
  }

  private static Tensor random(long size, long count, Generator generator, @Nullable Tensor free) {
    Tensor order = randperm(size, new GeneratorOptional(generator));
    Tensor allowed = free == null ? order : order.masked_select(free.index_select(0, order));
    return allowed.narrow(0, 0, count).sort().get0();
  }

  /** The entries that the reference draws, ascending, int64 [count]. */
  static Tensor drawn(long size, long count, @Nullable Long seed) {
    return random(size, count, createCPUGenerator(seed == null ? DEFAULT_SEED : seed), null);
  }

  // A generator of its own, so that neither the other draws nor the global generator feel it.
  private Generator generator() {
    Long seed = config.randomSeed();
    long used = seed == null ? DEFAULT_SEED : seed;
    return config.options().perLayerSeed()
        ? Init.stream(used, "shira", path).generator()
        : createCPUGenerator(used);
  }

  private Tensor gradient() {
    Tensor gradient = init.prepared(GRADIENT);
    if (gradient == null) {
      throw new ConfigException(
          "mask_type %s needs the gradient of %s, averaged over calibration batches; run ShiraCalibration before attaching, or hand the gradient over with InitSource.withPrepared under the name gradient"
              .formatted(config.mask().word(), path));
    }
    requireShape(gradient, "the gradient");
    return gradient;
  }

  private void requireShape(Tensor tensor, String what) {
    if (tensor.dim() != 2 || tensor.size(0) != out || tensor.size(1) != in) {
      throw new ConfigException(
          "%s of %s is %s but the weight is [%d, %d]"
              .formatted(what, path, Arrays.toString(tensor.shape()), out, in));
    }
  }

  /**
   * The main diagonal, evenly spaced whole lines along the shorter side, and what is missing from
   * the first lines that are left, so that the count is exact.
   */
  private Tensor struct(long count, @Nullable Tensor free) {
    Tensor taken = layer.weight().new_zeros(out, in).to(ScalarType.Bool);
    taken.diagonal().fill_(new Scalar(1));
    int along = in <= out ? 0 : 1; // lines are rows where rows are the short ones
    long lines = Math.max(out, in);
    long length = Math.min(out, in);
    long fit = (count - length) / length;
    Integer wanted = config.options().frequency();
    long whole = wanted == null ? fit : Math.min(wanted, fit);
    boolean[] chosen = new boolean[Math.toIntExact(lines)];
    for (long t = 0; t < whole; t++) {
      long line = (2 * t + 1) * lines / (2 * whole);
      chosen[(int) line] = true;
      taken.select(along, line).fill_(new Scalar(1));
    }
    Tensor allowed = free == null ? null : free.view(out, in);
    if (allowed != null) {
      taken.logical_and_(allowed);
    }
    long missing = count - taken.sum().item_long();
    for (int line = 0; missing > 0 && line < chosen.length; line++) {
      if (!chosen[line]) {
        missing -= fill(taken.select(along, line), select(allowed, along, line), missing);
      }
    }
    return taken.view(-1).nonzero().view(-1);
  }

  private static @Nullable Tensor select(@Nullable Tensor matrix, long along, long line) {
    return matrix == null ? null : matrix.select(along, line);
  }

  /** Takes the first free entries of a line; returns how many. */
  private static long fill(Tensor line, @Nullable Tensor allowed, long most) {
    try (var _ = new PointerScope()) {
      Tensor open = line.logical_not();
      Tensor at = (allowed == null ? open : open.logical_and(allowed)).nonzero().view(-1);
      long count = Math.min(most, at.size(0));
      line.index_fill_(0, at.narrow(0, 0, count), new Scalar(1));
      return count;
    }
  }

  private Tensor custom(
      String word, @Nullable MaskFunction function, long count, @Nullable Tensor free) {
    if (function == null) {
      throw new ConfigException(
          "mask_type is %s, which is no mask of this library, and %s has no entries from a file; use random, weight_magnitude, gradient, snip or struct, or set a mask function"
              .formatted(word, path));
    }
    Tensor mask = function.mask(layer, config.r());
    requireShape(mask, "the mask");
    Tensor flat = mask.reshape(-1);
    Tensor one = flat.eq(new Scalar(1));
    Tensor stray = one.logical_or(flat.eq(new Scalar(0))).logical_not();
    if (stray.any().item_bool()) {
      throw new ConfigException(
          "the mask of %s has the entry %s but its entries are 0 or 1"
              .formatted(
                  path,
                  flat.masked_select(stray).select(0, 0).to(ScalarType.Double).item_double()));
    }
    Tensor positions = one.nonzero().view(-1);
    if (positions.size(0) != count) {
      throw new ConfigException(
          "the mask of %s has %d ones but r·(out + in) = %d·(%d + %d) = %d are needed"
              .formatted(path, positions.size(0), config.r(), out, in, count));
    }
    if (free != null && !free.index_select(0, positions).all().item_bool()) {
      throw new ConfigException(
          "the mask of %s has entries of %s, which non_overlap_with excludes"
              .formatted(path, config.nonOverlapWith()));
    }
    return positions;
  }

  static Tensor joined(Tensor a, Tensor b) {
    var both = new TensorVector();
    both.push_back(a);
    both.push_back(b);
    return cat(both, 0);
  }
}
