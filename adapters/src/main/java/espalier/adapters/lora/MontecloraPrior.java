package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.digamma;
import static org.bytedeco.pytorch.global.torch.full;
import static org.bytedeco.pytorch.global.torch.lgamma;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * What MonteCLoRA learns about its noise, and how far that is from where it should stay.
 *
 * @param settings number of samples, prior concentration
 * @param deviation log of the standard deviation of each rank, [r]
 * @param concentration log of the concentration of each sample's weight, [samples]
 */
record MontecloraPrior(LoraVariant.Monteclora settings, Tensor deviation, Tensor concentration) {

  /** The diagonal of C, [r]: max(1e-3, eᵢ² Zᵢᵢ). */
  Tensor variances(Tensor wishart) {
    Tensor z = wishart.to(deviation.scalar_type().intern());
    return squares().mul(z.diagonal()).clamp_min(new Scalar(1e-3));
  }

  private Tensor squares() {
    return deviation.mul(new Scalar(2)).exp();
  }

  /** The weights of the samples, [samples]; a logistic-normal approximation of Dirichlet's. */
  Tensor weights(Tensor draw) {
    double n = settings.samples();
    Tensor alpha = concentration.exp().clamp_min(new Scalar(1e-6));
    Tensor log = alpha.log();
    Tensor inverse = alpha.reciprocal();
    Tensor variance =
        inverse
            .mul(new Scalar(1 - 2 / n))
            .add(inverse.sum().mul(new Scalar(1 / (n * n))))
            .clamp_min(new Scalar(1e-6))
            .add(new Scalar(1e-6));
    Tensor z = draw.to(concentration.scalar_type().intern());
    return variance.sqrt().mul(z).add(log.sub(log.mean())).softmax(-1);
  }

  /**
   * The three divergences together: of the weights, of the Wishart factor, and of the noise.
   *
   * @param c the diagonal of C, [r]
   */
  Tensor divergence(Tensor c) {
    return ofWeights().add(ofDeviation()).add(ofNoise(c));
  }

  // With the signs of the reference, whose two first terms a textbook has the other way round.
  private Tensor ofWeights() {
    Tensor own = concentration.exp();
    Tensor prior =
        full(
            new long[] {settings.samples()},
            new Scalar(settings.dirichletPrior()),
            concentration.options());
    Tensor difference = own.sub(prior);
    return lgamma(own.sum())
        .sub(lgamma(prior.sum()))
        .add(lgamma(own).sub(lgamma(prior)).sum())
        .add(difference.mul(digamma(own).sub(digamma(own.sum()))).sum());
  }

  private Tensor ofDeviation() {
    double r = deviation.size(0);
    Tensor e = squares();
    return e.sum()
        .sub(e.log().sum())
        .mul(new Scalar(r))
        .sub(new Scalar(r * r))
        .mul(new Scalar(0.5));
  }

  private Tensor ofNoise(Tensor c) {
    Tensor floored = c.clamp_min(new Scalar(1e-6));
    double r = c.size(0);
    return floored
        .sub(floored.log())
        .sum()
        .sub(new Scalar(r))
        .mul(new Scalar(0.5 * settings.samples()));
  }
}
