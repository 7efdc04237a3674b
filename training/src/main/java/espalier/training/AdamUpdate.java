package espalier.training;

import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** One update of Adam, wherever its moments are kept. */
record AdamUpdate(AdamRates rates, Decay decay) {

  /**
   * Changes the parameter and both moments in place.
   *
   * @param m first moment, as the parameter
   * @param v second moment, as the parameter
   * @param t how many updates the parameter has had, this one included
   */
  void apply(
      Tensor p, Tensor gradient, Tensor m, Tensor v, long t, double rate, double weightDecay) {
    Tensor g = gradient;
    if (weightDecay != 0) {
      switch (decay) {
        case DECOUPLED -> p.mul_(new Scalar(1 - rate * weightDecay));
        case IN_GRADIENT -> g = g.add(p, new Scalar(weightDecay));
      }
    }
    rates.take(g, m, v);
    double correction1 = 1 - Math.pow(rates.beta1(), (double) t);
    double correction2 = 1 - Math.pow(rates.beta2(), (double) t);
    Tensor denominator =
        v.sqrt().div_(new Scalar(Math.sqrt(correction2))).add_(new Scalar(rates.epsilon()));
    p.addcdiv_(m, denominator, new Scalar(-rate / correction1));
  }
}
