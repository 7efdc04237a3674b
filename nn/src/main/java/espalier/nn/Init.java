package espalier.nn;

import static org.bytedeco.pytorch.global.torch.createCPUGenerator;
import static org.bytedeco.pytorch.global.torch.empty;
import static org.bytedeco.pytorch.global.torch.zeros;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import org.bytedeco.pytorch.Generator;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * First values of an adapter's tensors, float32, drawn from a stream of random numbers.
 *
 * <p>In normal use each adapter on each layer has a stream of its own, derived from the run's seed,
 * the adapter's name and the layer's path, so that the draws do not depend on the order of layers
 * or on threads. All adapters draw in the reference's order, also what they throw away, so that one
 * generator shared by all layers gives the reference's numbers.
 */
public final class Init {

  private static final Init BLANK = new Init(null, Map.of());

  private final @Nullable Generator generator;
  private final Map<String, Tensor> prepared;

  private Init(@Nullable Generator generator, Map<String, Tensor> prepared) {
    this.generator = generator;
    this.prepared = prepared;
  }

  /** A stream for one adapter on one layer. */
  public static Init stream(long seed, String adapter, String path) {
    return new Init(createCPUGenerator(mix(seed, adapter + "/" + path)), Map.of());
  }

  /** One stream for all layers, as the reference draws after {@code torch.manual_seed(seed)}. */
  public static Init shared(long seed) {
    return new Init(createCPUGenerator(seed), Map.of());
  }

  /** Draws nothing: all tensors are zero, to be filled from a file. */
  public static Init blank() {
    return BLANK;
  }

  /** Draws from a given generator. */
  public static Init of(Generator generator) {
    return new Init(generator, Map.of());
  }

  /**
   * The same draws, and beside them values that were computed from data before attaching.
   *
   * @param values by a name that the method knows; they stay the caller's
   */
  public Init withPrepared(Map<String, Tensor> values) {
    return new Init(generator, Map.copyOf(values));
  }

  /** A value that was computed from data before attaching, or null. */
  public @Nullable Tensor prepared(String name) {
    return prepared.get(name);
  }

  // FNV-1a over the name, then splitmix64's finaliser; 53 bits so that every reader can write it.
  // The seed is spread over all bits first: else seed 1 of "a" would be seed 2 of "b".
  private static long mix(long seed, String name) {
    long h = 0xcbf29ce484222325L ^ (seed * 0x9e3779b97f4a7c15L);
    for (byte b : name.getBytes(StandardCharsets.UTF_8)) {
      h = (h ^ (b & 0xff)) * 0x100000001b3L;
    }
    h = (h ^ (h >>> 30)) * 0xbf58476d1ce4e5b9L;
    h = (h ^ (h >>> 27)) * 0x94d049bb133111ebL;
    return (h ^ (h >>> 31)) & 0x1fffffffffffffL;
  }

  /** Uniform in ±1/√fanIn: Kaiming's rule with slope √5, as a fresh linear layer has it. */
  public Tensor kaimingUniform(long fanIn, long... shape) {
    return uniform(1 / Math.sqrt((double) fanIn), shape);
  }

  /** Uniform in [-bound, bound). */
  public Tensor uniform(double bound, long... shape) {
    return uniformBetween(-bound, bound, shape);
  }

  /** Uniform in [low, high). */
  public Tensor uniformBetween(double low, double high, long... shape) {
    return generator == null
        ? zeros(shape)
        : empty(shape).uniform_(low, high, new GeneratorOptional(generator));
  }

  /** Normal with mean 0 and the given deviation. */
  public Tensor normal(double deviation, long... shape) {
    return generator == null
        ? zeros(shape)
        : empty(shape).normal_(0, deviation, new GeneratorOptional(generator));
  }

  /** All zero. */
  public Tensor zero(long... shape) {
    return zeros(shape);
  }

  /** Whether nothing is drawn because a file will fill the tensors. */
  public boolean isBlank() {
    return generator == null;
  }

  /**
   * The generator itself, for draws that have no name here.
   *
   * @throws IllegalStateException if nothing is drawn
   */
  public Generator generator() {
    if (generator == null) {
      throw new IllegalStateException("a blank init has no generator; ask isBlank() first");
    }
    return generator;
  }
}
