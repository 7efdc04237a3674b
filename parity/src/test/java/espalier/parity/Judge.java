package espalier.parity;

import static org.bytedeco.pytorch.global.torch.minimum;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Compares the tensors that a case produced with those that it expects. */
final class Judge {

  private final Case golden;

  Judge(Case golden) {
    this.golden = golden;
  }

  /**
   * What is wrong, a sentence each; empty if all is well. Tensors that nobody expects do not count.
   */
  List<String> faults(Map<String, Tensor> expected, Map<String, Tensor> produced) {
    var faults = new ArrayList<String>();
    boolean compared = false;
    for (var entry : new TreeMap<>(expected).entrySet()) {
      String name = entry.getKey();
      Rule rule = Rule.in(golden.json(), name);
      if (rule instanceof Rule.Uncompared) {
        continue;
      }
      compared = true;
      Tensor got = produced.get(name);
      if (got == null) {
        faults.add(name + " was not produced");
      } else {
        compare(name, rule, got, entry.getValue(), faults);
      }
    }
    if (!compared && expected.isEmpty()) {
      faults.add("the case expects nothing, so nothing was compared");
    }
    return faults;
  }

  private void compare(String name, Rule rule, Tensor got, Tensor want, List<String> faults) {
    if (!Arrays.equals(shape(got), shape(want))) {
      faults.add(
          "%s is %s instead of %s"
              .formatted(name, Arrays.toString(shape(got)), Arrays.toString(shape(want))));
      return;
    }
    if (want.numel() == 0) {
      return;
    }
    Tensor exact = want.detach().to(ScalarType.Double);
    Tensor seen = got.detach().to(ScalarType.Double);
    double peak = exact.abs().max().item_double();
    double limit = tolerance(name).limit(peak);
    double difference = difference(seen, exact, rule);
    if (!(difference <= limit)) { // written so that NaN is a fault too
      faults.add(
          "%s is off by %.3e (relative %.1e) where %.3e is allowed"
              .formatted(name, difference, peak == 0 ? 0 : difference / peak, limit));
    }
  }

  private static double difference(Tensor got, Tensor want, Rule rule) {
    if (rule instanceof Rule.Sign(long axis)) {
      long slices = want.size(axis);
      Tensor a = got.movedim(axis, 0).reshape(slices, -1);
      Tensor b = want.movedim(axis, 0).reshape(slices, -1);
      return minimum(
              a.sub(b).abs().amax(new long[] {1}, false),
              a.add(b).abs().amax(new long[] {1}, false))
          .max()
          .item_double();
    }
    return got.sub(want).abs().max().item_double();
  }

  private Tolerance tolerance(String name) {
    var tolerances = golden.get("tolerance");
    var special = tolerances.path("tensors").get(name);
    return Tolerance.of(special == null ? tolerances.required("default") : special);
  }

  static long[] shape(Tensor tensor) {
    long[] shape = new long[(int) tensor.dim()];
    for (int i = 0; i < shape.length; i++) {
      shape[i] = tensor.size(i);
    }
    return shape;
  }
}
