package espalier.adapters.lycoris;

import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.hira.KernelBranch;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.BranchProduct;
import espalier.nn.Convolution;
import espalier.nn.Features;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.Arrays;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * An adapter whose update is a product of small factors of another kind than B·A, and may be of
 * full rank. On a linear layer a subclass multiplies by the factors without forming the update; on
 * a convolution the update is formed, and is a kernel.
 */
public abstract class LycorisAdapter extends Adapter {

  private final Adaptable layer;
  private final double scaling;
  private final LycorisDropout dropout;

  /** An adapter without parameters yet. */
  protected LycorisAdapter(Adaptable layer, double scaling, LycorisDropout dropout) {
    this.layer = layer;
    this.scaling = scaling;
    this.dropout = dropout;
  }

  /**
   * Refuses layers that neither LoHa nor LoKr exists for.
   *
   * @throws UnsupportedAdapterException naming the layer
   */
  public static void require(Adaptable layer, String path, String method) {
    boolean known =
        layer instanceof Linear
            || (layer instanceof Convolution convolution && convolution.dimensions() < 3);
    if (!known) {
      throw new UnsupportedAdapterException(
          "%s is a %s but %s adapts Linear, Conv1D, Conv1d and Conv2d; take it out of target_modules"
              .formatted(path, layer.typeName(), method));
    }
  }

  /** Uniform values by Kaiming's rule, whose bound is that of all dimensions but the first. */
  protected static Tensor kaiming(Init init, long... shape) {
    long fanIn = Arrays.stream(shape).skip(1).reduce(1, (a, b) -> a * b);
    return init.kaimingUniform(fanIn, shape);
  }

  /** The factors, in an order that {@link #branch} and {@link #update} know. */
  protected abstract List<Tensor> factors();

  /** Products of a linear layer's input with s times the update. */
  protected abstract BranchProduct.Branch branch(double s);

  /**
   * The update without its scaling, as autograd sees it.
   *
   * @param factors of one dtype
   * @return [out, in / groups · k...]
   */
  protected abstract Tensor update(List<Tensor> factors);

  @Override
  public final Adaptable layer() {
    return layer;
  }

  /** The factor on the branch: alpha / r, times the runtime scale. */
  public final double scaling() {
    return scaling * scale();
  }

  private boolean dropping() {
    return training() && dropout.any();
  }

  @Override
  public final Tensor first(Tensor x) {
    if (dropping()) {
      return forward(x, layer.base(x));
    }
    if (layer instanceof Convolution convolution) {
      return new KernelBranch(convolution, 0).first(x, training(), this::kernel);
    }
    Tensor rows = Features.rows(x);
    return Features.shaped(
        BranchProduct.whole((Linear) layer, rows, factors(), branch(scaling())), x);
  }

  @Override
  public final Tensor forward(Tensor x, Tensor y) {
    if (training() && !dropout.takesPart()) {
      return y;
    }
    Tensor mask = training() ? dropout.mask(layer.weight().size(0), y) : null;
    return layer instanceof Convolution convolution
        ? onKernel(convolution, x, y, mask)
        : onFeatures(x, y, mask);
  }

  private Tensor onFeatures(Tensor x, Tensor y, @Nullable Tensor mask) {
    Tensor rows = Features.rows(x);
    Tensor sum = Features.rows(y);
    if (mask == null) {
      Tensor own = sum.clone(); // somebody else may hold y
      return Features.shaped(BranchProduct.into(own, rows, factors(), branch(scaling())), x);
    }
    Tensor none = sum.detach().clone().zero_();
    Tensor branch = BranchProduct.into(none, rows, factors(), branch(scaling()));
    return Features.shaped(sum.add(branch.mul(mask)), x);
  }

  private Tensor onKernel(Convolution on, Tensor x, Tensor y, @Nullable Tensor mask) {
    Tensor branch = on.base(x, kernel(false).to(x.scalar_type().intern()), null);
    if (mask != null) {
      long[] shape = new long[on.dimensions() + 2];
      Arrays.fill(shape, 1);
      shape[1] = mask.size(0);
      branch = branch.mul(mask.view(shape));
    }
    return y.add(branch).to(y.scalar_type().intern());
  }

  private Tensor kernel(boolean withBase) {
    Tensor w = layer.originalWeight();
    Tensor delta = times(update(factors()), scaling()).view(w.shape());
    return withBase ? wide(w).add(delta).to(w.scalar_type().intern()) : delta;
  }

  @Override
  public final Tensor deltaWeight() {
    List<Tensor> exact = factors().stream().map(Adapter::wide).toList();
    Tensor delta = times(update(exact), scaling());
    return layer instanceof Convolution ? delta.view(layer.weight().shape()) : delta;
  }
}
