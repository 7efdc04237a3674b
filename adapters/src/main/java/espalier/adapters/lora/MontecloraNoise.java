package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.randn;

import org.bytedeco.pytorch.Tensor;

/**
 * What one training forward of MonteCLoRA draws, float32.
 *
 * @param normal standard normal, [samples, in, r]
 * @param wishart from Wishart's distribution with r degrees of freedom and unit scale, [r, r]
 * @param dirichlet standard normal, [samples]
 */
public record MontecloraNoise(Tensor normal, Tensor wishart, Tensor dirichlet) {

  /** Draws from the {@linkplain espalier.nn.RandomState run's random state}. */
  static MontecloraNoise drawn(long samples, long in, long r) {
    // G Gᵀ of a square Gaussian matrix is Wishart with r degrees of freedom by definition; its
    // triangular factor is the one that Bartlett's decomposition draws directly.
    Tensor g = randn(r, r);
    return new MontecloraNoise(randn(samples, in, r), g.matmul(g.t()), randn(samples));
  }
}
