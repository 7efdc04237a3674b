package espalier.adapters.combine;

import static org.bytedeco.pytorch.global.torch.clamp;

import espalier.adapters.calibration.Svd;
import espalier.adapters.combine.CombinationType.Form;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarOptional;
import org.bytedeco.pytorch.Tensor;

/**
 * The combination on one layer, over plain tensors.
 *
 * @param how the settings, for the number of sources that there are
 * @param masks what is kept where entries are dropped at random
 * @param path the layer
 * @param transposed whether the layer stores its weight as [in, out], in whose order the reference
 *     draws the masks of updates
 */
record LayerCombination(Combination how, Masks masks, String path, boolean transposed) {

  /**
   * The factors of the combination.
   *
   * @param shares of the sources that have this layer, not in half precision
   * @param rank of the result; smaller factors are filled up with zeros
   */
  Factors of(List<Share> shares, long rank) {
    long perGroup = rank / shares.getFirst().a().size(0);
    Factors factors =
        switch (how.type().form()) {
          case STACK -> stacked(shares);
          case FACTORS -> new Factors(factor(shares, "A"), factor(shares, "B"));
          case UPDATE -> decomposed(shares, perGroup);
        };
    return factors.padded(perGroup);
  }

  private static Factors stacked(List<Share> shares) {
    List<Tensor> a = new ArrayList<>();
    List<Tensor> b = new ArrayList<>();
    for (Share share : shares) {
      a.add(share.a().mul(new Scalar(share.total())));
      b.add(share.b());
    }
    return new Factors(Factors.join(1, a), Factors.join(2, b));
  }

  // The root of the weight goes to each factor, its sign to A.
  private Tensor factor(List<Share> shares, String name) {
    boolean isA = name.equals("A");
    double[] roots =
        shares.stream().mapToDouble(s -> isA && s.total() < 0 ? -s.root() : s.root()).toArray();
    return merged(shares, name, isA ? Share::a : Share::b, roots, false);
  }

  private Factors decomposed(List<Share> shares, long rank) {
    Svd svd;
    if (how.type() == CombinationType.SVD) {
      Factors thin = stacked(shares);
      svd = Svd.ofProduct(thin.b(), thin.a());
    } else {
      double[] weights = shares.stream().mapToDouble(Share::weight).toArray();
      svd = Svd.leading(merged(shares, "BA", Share::update, weights, transposed), rank);
    }
    svd = svd.first(rank);
    return clamped(new Factors(svd.vt(), svd.us()));
  }

  private Tensor merged(
      List<Share> shares,
      String name,
      Function<Share, Tensor> tensorOf,
      double[] weights,
      boolean flipped) {
    List<Tensor> tensors = new ArrayList<>();
    for (Share share : shares) {
      tensors.add(pruned(tensorOf.apply(share), share, name, flipped));
    }
    return how.type().elects()
        ? TaskArithmetic.elected(tensors, weights, how.majoritySign())
        : TaskArithmetic.sum(tensors, weights);
  }

  private Tensor pruned(Tensor tensor, Share share, String name, boolean flipped) {
    double density = how.part();
    if (density >= 1) {
      return tensor;
    }
    return switch (how.type().pruning()) {
      case NONE -> tensor;
      case MAGNITUDE -> Sparsity.largest(tensor, density);
      case RANDOM -> {
        long rows = tensor.size(0) * tensor.size(1);
        long columns = tensor.size(2);
        long[] shape = flipped ? new long[] {columns, rows} : new long[] {rows, columns};
        var place = new Masks.Place(share.number(), share.adapter(), path, name);
        Tensor mask = masks.draw(place, shape, density).reshape(shape);
        Tensor own = (flipped ? mask.t() : mask).reshape(tensor.shape());
        yield Sparsity.rescaled(tensor, own, density);
      }
    };
  }

  private Factors clamped(Factors factors) {
    Double quantile = how.svdClamp();
    if (quantile == null || how.type().form() != Form.UPDATE) {
      return factors;
    }
    Tensor all = Factors.join(0, factors.b().flatten(), factors.a().flatten());
    double high = quantile(all, quantile);
    return new Factors(between(factors.a(), high), between(factors.b(), high));
  }

  private static Tensor between(Tensor tensor, double high) {
    return clamp(
        tensor, new ScalarOptional(new Scalar(-high)), new ScalarOptional(new Scalar(high)));
  }

  /** With linear interpolation between the two entries around the place. */
  private static double quantile(Tensor entries, double quantile) {
    double place = quantile * (entries.numel() - 1);
    long below = (long) place;
    double low = entries.kthvalue(below + 1, 0, false).get0().item_double();
    double part = place - below;
    return part == 0
        ? low
        : low + part * (entries.kthvalue(below + 2, 0, false).get0().item_double() - low);
  }
}
