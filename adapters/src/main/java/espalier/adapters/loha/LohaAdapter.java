package espalier.adapters.loha;

import espalier.adapters.abba.KhatriRao;
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
import org.bytedeco.pytorch.Tensor;

/**
 * LoHa: ΔW = alpha / r · (w1_a·w1_b) ⊙ (w2_a·w2_b), the Hadamard product of two low-rank matrices,
 * whose rank may reach r². A kernel of a convolution is flattened to a matrix, or with {@code
 * use_effective_conv2d} each of the two is given by a core tensor.
 *
 * @see <a href="https://arxiv.org/abs/2108.06098">FedPara: Low-rank Hadamard Product</a>
 */
public final class LohaAdapter extends LycorisAdapter {

  private final List<Tensor> factors; // w1_a, w1_b, w2_a, w2_b, and perhaps t1 and t2
  private final boolean wide;

  LohaAdapter(LohaConfig config, Adaptable layer, String path, Init init) {
    super(
        layer,
        config.settings().scalingAt(path),
        new LycorisDropout(
            config.settings().rankDropout(), config.settings().moduleDropout(), true));
    int r = config.settings().rankAt(path);
    long[] kernel = layer instanceof Convolution c ? c.kernel() : new long[0];
    long places = Arrays.stream(kernel).reduce(1, (a, b) -> a * b);
    boolean cored = config.settings().effectiveConv2d() && places > 1;
    long out = layer instanceof Linear linear ? linear.out() : layer.weight().size(0);
    long in = layer instanceof Linear linear ? linear.in() : layer.weight().size(1);
    long[] ofA = cored ? new long[] {r, out} : new long[] {out, r};
    long[] ofB = {r, cored ? in : in * places};
    Tensor w1a = parameter("hada_w1_a", kaiming(init, ofA));
    Tensor w1b = parameter("hada_w1_b", kaiming(init, ofB));
    Tensor w2a = parameter("hada_w2_a", kaiming(init, ofA));
    Tensor w2b = parameter("hada_w2_b", config.initWeights() ? init.zero(ofB) : kaiming(init, ofB));
    var all = new ArrayList<>(List.of(w1a, w1b, w2a, w2b));
    if (cored) {
      long[] ofCore = {r, r, kernel[0], kernel.length > 1 ? kernel[1] : 1};
      all.add(parameter("hada_t1", kaiming(init, ofCore)));
      all.add(parameter("hada_t2", kaiming(init, ofCore)));
    }
    factors = List.copyOf(all);
    wide = (long) r * r * (in + out) > in * out;
  }

  @Override
  protected List<Tensor> factors() {
    return factors;
  }

  @Override
  protected BranchProduct.Branch branch(double s) {
    return wide ? new HadamardBranch(s) : new KhatriRao(s);
  }

  @Override
  protected Tensor update(List<Tensor> of) {
    return of.size() == 4
        ? of.get(0).mm(of.get(1)).mul(of.get(2).mm(of.get(3)))
        : CoreTensor.kernel(of.get(4), of.get(0), of.get(1))
            .mul(CoreTensor.kernel(of.get(5), of.get(2), of.get(3)));
  }
}
