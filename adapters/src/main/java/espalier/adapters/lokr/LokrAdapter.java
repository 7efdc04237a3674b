package espalier.adapters.lokr;

import static org.bytedeco.pytorch.global.torch.kron;

import espalier.adapters.lycoris.CoreTensor;
import espalier.adapters.lycoris.LycorisAdapter;
import espalier.adapters.lycoris.LycorisDropout;
import espalier.nn.Adaptable;
import espalier.nn.BranchProduct;
import espalier.nn.Convolution;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.LongStream;
import org.bytedeco.pytorch.Tensor;

/**
 * LoKr: ΔW = alpha / r · w1 ⊗ w2, a Kronecker product, whose rank is the product of both ranks. The
 * right factor is itself a product of rank r where r is small beside it, and so is the left one
 * with {@code decompose_both}. On a convolution the right factor carries the kernel; one of a
 * Conv1d that is whole, w2 [b, d, k], goes together with w1 as [1, a, c], and ΔW is the product [b,
 * a·d, c·k] read row by row, which is what files of the reference mean.
 *
 * @see <a href="https://arxiv.org/abs/2309.14859">LyCORIS</a>
 */
public final class LokrAdapter extends LycorisAdapter {

  private final List<Tensor> factors; // of the left side, of the right one, and perhaps its core
  private final boolean leftSplit;
  private final boolean rightSplit;
  private final boolean cored;

  LokrAdapter(LokrConfig config, Adaptable layer, String path, Init init) {
    super(
        layer,
        config.settings().scalingAt(path),
        new LycorisDropout(
            config.settings().rankDropout(),
            config.settings().moduleDropout(),
            config.rankDropoutScale()));
    int r = config.settings().rankAt(path);
    long[] kernel = layer instanceof Convolution c ? c.kernel() : new long[0];
    long places = Arrays.stream(kernel).reduce(1, (a, b) -> a * b);
    int limit = config.decomposeFactor();
    var out = Factorization.of(outputs(layer), limit);
    var in = Factorization.of(inputs(layer), limit);
    leftSplit = config.decomposeBoth() && r < Math.max(out.small(), in.small()) / 2.0;
    rightSplit = r < Math.max(out.large(), in.large()) / 2.0;
    cored = rightSplit && config.settings().effectiveConv2d() && places > 1;

    LokrInit start = config.init();
    boolean leftZero = start == LokrInit.LEFT_ZERO;
    boolean rightZero = start == LokrInit.RIGHT_ZERO;
    var all = new ArrayList<Tensor>();
    if (leftSplit) {
      all.add(parameter("lokr_w1_a", first(leftZero, init, out.small(), r)));
      all.add(parameter("lokr_w1_b", kaiming(init, r, in.small())));
    } else {
      all.add(parameter("lokr_w1", first(leftZero, init, out.small(), in.small())));
    }
    if (cored) {
      all.add(parameter("lokr_w2_a", kaiming(init, r, out.large())));
      all.add(parameter("lokr_w2_b", first(rightZero, init, r, in.large())));
      long[] ofCore = {r, r, kernel[0], kernel.length > 1 ? kernel[1] : 1};
      all.add(parameter("lokr_t2", kaiming(init, ofCore)));
    } else if (rightSplit) {
      all.add(parameter("lokr_w2_a", kaiming(init, out.large(), r)));
      all.add(parameter("lokr_w2_b", first(rightZero, init, r, in.large() * places)));
    } else {
      long[] whole =
          LongStream.concat(LongStream.of(out.large(), in.large()), LongStream.of(kernel))
              .toArray();
      all.add(parameter("lokr_w2", first(rightZero, init, whole)));
    }
    factors = List.copyOf(all);
  }

  private static long outputs(Adaptable layer) {
    return layer instanceof Linear linear ? linear.out() : layer.weight().size(0);
  }

  private static long inputs(Adaptable layer) {
    return layer instanceof Linear linear ? linear.in() : layer.weight().size(1);
  }

  private static Tensor first(boolean zero, Init init, long... shape) {
    return zero ? init.zero(shape) : kaiming(init, shape);
  }

  @Override
  protected List<Tensor> factors() {
    return factors;
  }

  @Override
  protected BranchProduct.Branch branch(double s) {
    return new KroneckerBranch(s, leftSplit, rightSplit);
  }

  @Override
  protected Tensor update(List<Tensor> of) {
    Tensor left = leftSplit ? of.get(0).mm(of.get(1)) : of.get(0);
    List<Tensor> right = of.subList(leftSplit ? 2 : 1, of.size());
    if (!rightSplit && right.getFirst().dim() == 3) {
      // the reference's files mean w1 as [1, a, c] here, and the product in the weight's shape
      return kron(left, right.getFirst()).reshape(layer().weight().shape()).flatten(1, -1);
    }
    return kron(left, right(right));
  }

  private Tensor right(List<Tensor> of) {
    if (cored) {
      return CoreTensor.kernel(of.get(2), of.get(0), of.get(1));
    }
    return rightSplit ? of.get(0).mm(of.get(1)) : of.get(0).flatten(1, -1);
  }
}
