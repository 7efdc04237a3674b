package espalier.adapters.hirasb;

import espalier.adapters.hira.KernelBranch;
import espalier.nn.Convolution;
import espalier.nn.CustomFunction;
import espalier.nn.Init;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** HiRA-SB on a convolution, whose kernel counts as a matrix [out, in · kernel]. */
public final class HiraSbConvolution extends HiraSbAdapter {

  private final Convolution layer;
  private final KernelBranch branch;

  HiraSbConvolution(HiraSbConfig config, Convolution layer, String path, int rank, Init init) {
    super(config, layer, path, rank, init);
    this.layer = layer;
    branch = new KernelBranch(layer, config.dropout());
  }

  @Override
  public Convolution layer() {
    return layer;
  }

  @Override
  public Tensor first(Tensor x) {
    return branch.first(x, training(), this::kernel);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    return branch.forward(x, y, training(), this::kernel);
  }

  /** The update, or the weight with it, from a node that keeps the factors alone. */
  private Tensor kernel(boolean withBase) {
    Tensor w = layer.originalWeight();
    Tensor q = right(); // [r, in · kernel]
    boolean additive = additive();
    return CustomFunction.apply(
        List.of(q),
        List.of(left(), w),
        () -> {
          Tensor m = wide(left()).mm(q).view_as(w);
          if (additive) {
            return withBase ? m.add_(w) : m;
          }
          return (withBase ? m.add_(new Scalar(1)) : m).mul(w);
        },
        (g, saved) -> {
          Tensor gm = additive ? wide(g) : wide(g).mul(saved.get(1));
          return List.of(wide(saved.getFirst()).t().mm(gm.flatten(1, -1)));
        });
  }
}
