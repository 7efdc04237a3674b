package espalier.adapters.adalora;

import espalier.adapters.lora.LoraInit;
import espalier.nn.Init;
import org.bytedeco.pytorch.Tensor;

/** First values of the factors, drawn in the reference's order. */
final class AdaloraStart {

  private AdaloraStart() {}

  static AdaloraFactors of(AdaloraConfig config, int r, long out, long in, Init init) {
    Tensor a = init.normal(1, r, in);
    Tensor e = init.normal(1, r, 1);
    Tensor b = init.normal(1, out, r);
    Tensor _ = init.normal(1, 1); // the reference draws for the rank what it then overwrites
    return config.lora().init() instanceof LoraInit.Unset
        ? new AdaloraFactors(a, e, b)
        : new AdaloraFactors(init.normal(0.02, r, in), init.zero(r, 1), init.normal(0.02, out, r));
  }
}
