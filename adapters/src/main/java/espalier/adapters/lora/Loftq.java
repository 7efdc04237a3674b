package espalier.adapters.lora;

import espalier.adapters.Adapters;
import espalier.adapters.StateMismatchException;
import espalier.adapters.TargetException;
import espalier.adapters.calibration.Svd;
import espalier.nn.Adapter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.function.Predicate;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * LoftQ for a base that is quantised already: the factors of LoRA become the best fit of what
 * quantising lost, W − Q ≈ B·A.
 *
 * @see <a href="https://arxiv.org/abs/2310.08659">LoftQ, ICLR 2024</a>
 */
public final class Loftq {

  private Loftq() {}

  /**
   * What came of it.
   *
   * @param accepted paths of the layers whose factors were replaced
   * @param rejected paths of those where the caller wanted the former ones back
   * @param warnings sentences
   */
  public record Replaced(List<String> accepted, List<String> rejected, List<String> warnings) {}

  /**
   * Replaces the factors on every layer whose weight is not that of the original, in the model's
   * order. If it fails, all factors are as they were.
   *
   * @param name the adapter, whose branch is not merged
   * @param originals the weight of a layer before it was quantised, by path, as the checkpoint
   *     stores it; asked for one at a time
   * @param keep asked after each layer, with the model as it then is; false puts the former factors
   *     back. Greedy: another call may improve further
   * @throws TargetException if no layer differs from its original
   */
  public static Replaced replaceWeights(
      Adapters adapters, String name, Function<String, Tensor> originals, Predicate<String> keep) {
    if (adapters.merged().contains(name)) {
      throw new IllegalStateException(
          "the adapter %s is merged and its factors can not be replaced; unmerge it first"
              .formatted(name));
    }
    var accepted = new ArrayList<String>();
    var rejected = new ArrayList<String>();
    var scaled = new ArrayList<String>();
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      var former = new LinkedHashMap<LoraLinear, Map<String, Tensor>>();
      try {
        adapters
            .on(name)
            .forEach(
                (path, adapter) -> {
                  if (!(adapter instanceof LoraLinear lora)) {
                    return;
                  }
                  Map<String, Tensor> before = copies(lora);
                  former.put(lora, before);
                  if (!replace(lora, path, originals)) {
                    return;
                  }
                  if (lora.scaling() != 1) {
                    scaled.add(path);
                  }
                  if (keep.test(path)) {
                    accepted.add(path);
                  } else {
                    lora.load(before);
                    rejected.add(path);
                  }
                });
      } catch (RuntimeException | Error e) {
        former.forEach(Adapter::load);
        throw e;
      }
    }
    if (accepted.isEmpty() && rejected.isEmpty()) {
      throw new TargetException(
          "no linear layer of %s differs from the original weights, so nothing was quantised; quantise the base first, or name the weights that it was made from"
              .formatted(name));
    }
    return new Replaced(accepted, rejected, warnings(scaled));
  }

  private static List<String> warnings(List<String> scaled) {
    return scaled.isEmpty()
        ? List.of()
        : List.of(
            "%s and %d more have a scaling other than 1, but the fit is that of a scaling of 1; set lora_alpha to r"
                .formatted(scaled.getFirst(), scaled.size() - 1));
  }

  private static Map<String, Tensor> copies(LoraLinear lora) {
    return Map.of("lora_A.weight", lora.a().clone(), "lora_B.weight", lora.b().clone());
  }

  /** Whether the layer differs from its original, and so got new factors. */
  private static boolean replace(LoraLinear lora, String path, Function<String, Tensor> originals) {
    try (var _ = new PointerScope()) {
      Tensor stored = originals.apply(path);
      Tensor original = lora.layer().transposed() ? stored.t() : stored;
      Tensor base = lora.layer().originalWeight();
      if (!Arrays.equals(original.shape(), base.shape())) {
        throw new StateMismatchException(
            "%s is %s in the original weights but %s in the model; they are of different models"
                .formatted(path, Arrays.toString(original.shape()), Arrays.toString(base.shape())));
      }
      if (original.to(lora.layer().dtype()).equal(base)) { // waits for the device: once a layer
        return false;
      }
      int r = Math.toIntExact(lora.a().size(0));
      Tensor lost = original.to(ScalarType.Float).sub(base.to(ScalarType.Float));
      Svd fit = Svd.largest(lost, Math.min(r, Math.min(lost.size(0), lost.size(1))));
      lora.load(
          Map.of(
              "lora_A.weight", LoraFactors.rows(fit.rightHalf(), r),
              "lora_B.weight", LoraFactors.columns(fit.leftHalf(), r)));
      return true;
    }
  }
}
