package espalier.adapters.calibration;

import static org.bytedeco.pytorch.global.torch.vstack;

import espalier.adapters.ConfigException;
import espalier.nn.Init;
import espalier.nn.Scope;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * The leading principal components of rows that come batch by batch: each step decomposes what is
 * known so far, the new rows, and a row for the shift of the mean. The mean and the variance are
 * summed in float64.
 *
 * @see <a href="https://www.cs.toronto.edu/~dross/ivt/RossLimLinYang_ijcv.pdf">Incremental learning
 *     for robust visual tracking, section 3.1</a>
 */
public final class IncrementalPca implements AutoCloseable {

  private static final int ITERATIONS = 4;
  private static final long SEED = 42;

  /** Up to this smaller side of what is decomposed, its Gram matrix is the quicker way. */
  private static final long BY_GRAM = 512;

  /** Components below this part of the first are not exact in the square that a Gram matrix is. */
  private static final double DROWNED = 1e-5;

  private final int count;
  private long rows;
  private @Nullable Tensor mean; // [f], float64
  private @Nullable Tensor variance; // [f], float64
  private @Nullable Tensor components; // [m, f]
  private @Nullable Tensor singularValues; // [m]
  private @Nullable Tensor explainedRatio; // [m]

  /**
   * An analysis that has seen nothing.
   *
   * @param components m, how many are kept, 1 or more
   */
  public IncrementalPca(int components) {
    if (components < 1) {
      throw new ConfigException(
          "%d principal components are asked for but 1 or more are needed".formatted(components));
    }
    count = components;
  }

  /**
   * Takes more rows in.
   *
   * @param batch [n, f], float32 or float64
   * @throws ConfigException if there are fewer rows or features than components
   */
  public void add(Tensor batch) {
    long n = batch.size(0);
    long f = batch.size(1);
    if (count > f) {
      throw new ConfigException(
          "%d principal components are asked for but the inputs have %d features; lower r or rho"
              .formatted(count, f));
    }
    if (count > n) {
      throw new ConfigException(
          "%d principal components are asked for but the batch has %d rows; take larger batches, or lower r or rho"
              .formatted(count, n));
    }
    if (mean != null && mean.size(0) != f) {
      throw new IllegalArgumentException(
          "a batch has %d features but those before had %d".formatted(f, mean.size(0)));
    }
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      step(batch, n);
    }
  }

  private void step(Tensor batch, long n) {
    long total = rows + n;
    Tensor sum = batch.sum(new long[] {0}, false, new ScalarTypeOptional(ScalarType.Double));
    Tensor batchMean = sum.div(new Scalar((double) n));
    Tensor centred = batch.sub(batchMean.to(batch.scalar_type().intern()));
    Tensor spread =
        wide(centred)
            .square()
            .sum(0)
            .sub(
                centred
                    .sum(new long[] {0}, false, new ScalarTypeOptional(ScalarType.Double))
                    .square()
                    .div(new Scalar((double) n)))
            .clamp_min(new Scalar(0.0)); // rounding takes it below where all rows are alike
    Tensor newMean = batchMean;
    Tensor stack = centred;
    if (mean != null) {
      Tensor shift = mean.sub(batchMean);
      double weight = (double) rows * n / total;
      newMean = mean.mul(new Scalar((double) rows)).add(sum).div(new Scalar((double) total));
      spread =
          known(variance)
              .mul(new Scalar((double) rows))
              .add(spread)
              .add(shift.square().mul(new Scalar(weight)));
      // In float64: what is known so far weighs more than the batch and must not be rounded again.
      Tensor before = known(singularValues).view(-1, 1).mul(known(components));
      Tensor moved = shift.mul(new Scalar(Math.sqrt(weight))).unsqueeze(0);
      stack = vstack(new TensorVector(wide(before), wide(centred), moved));
    }
    Svd svd = decomposed(stack);
    Tensor kept = svd.vt().narrow(0, 0, count);
    Tensor values = svd.s().narrow(0, 0, count);
    Tensor explained = wide(values).square();
    Tensor all = spread.sum();
    Tensor ratio =
        explained
            .div(all)
            .where(all.gt(new Scalar(0.0)), explained.new_zeros(explained.sizes())) // all alike
            .to(values.scalar_type().intern());
    close();
    components = Scope.own(kept.mul(signs(kept)));
    singularValues = Scope.own(values.clone());
    explainedRatio = Scope.own(ratio);
    mean = Scope.own(newMean);
    variance = Scope.own(spread.div(new Scalar((double) total)));
    rows = total;
  }

  // The same draws at each step, so that a step depends on its rows alone.
  private Svd decomposed(Tensor stack) {
    long smaller = Math.min(stack.size(0), stack.size(1));
    long seen = Math.min(smaller, 2L * count);
    if (smaller <= BY_GRAM) {
      Svd svd = Svd.randomisedByGram(stack, seen, ITERATIONS, Init.shared(SEED));
      // waits for the device: once a step
      double least = svd.s().select(0, count - 1).item_double();
      if (least > DROWNED * svd.s().select(0, 0).item_double()) {
        return svd;
      }
    }
    return Svd.randomised(stack, seen, ITERATIONS, Init.shared(SEED));
  }

  // The entry of the largest magnitude in each component is made positive.
  private static Tensor signs(Tensor components) {
    Tensor largest = components.abs().argmax(new LongOptional(1), true);
    return components.gather(1, largest).sign();
  }

  private static Tensor wide(Tensor tensor) {
    return tensor.to(ScalarType.Double);
  }

  private static Tensor known(@Nullable Tensor value) {
    return Objects.requireNonNull(value, "no rows were added yet");
  }

  /** How many rows were taken in. */
  public long rows() {
    return rows;
  }

  /** The leading components as orthonormal rows, [m, f] float32, largest variance first. */
  public Tensor components() {
    return known(components).to(ScalarType.Float);
  }

  /** The singular values that belong to the components, [m] float32. */
  public Tensor singularValues() {
    return known(singularValues).to(ScalarType.Float);
  }

  /** The part of all variance that each component explains, [m] float32. */
  public Tensor explainedRatio() {
    return known(explainedRatio).to(ScalarType.Float);
  }

  /** The mean of all rows, [f], float64. */
  public Tensor mean() {
    return known(mean);
  }

  /** The variance of each feature over all rows, divided by their number, [f], float64. */
  public Tensor variance() {
    return known(variance);
  }

  @Override
  public void close() {
    for (Tensor tensor :
        new @Nullable Tensor[] {mean, variance, components, singularValues, explainedRatio}) {
      if (tensor != null) {
        tensor.close();
      }
    }
    mean = null;
    variance = null;
    components = null;
    singularValues = null;
    explainedRatio = null;
  }
}
