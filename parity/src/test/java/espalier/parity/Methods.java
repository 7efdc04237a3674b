package espalier.parity;

import java.util.Set;
import java.util.TreeSet;

/** The methods whose cases can be carried out. */
final class Methods {

  private static final Set<String> KNOWN =
      Set.of(
          "adalora",
          "alora",
          "arrow",
          "bdlora",
          "corda",
          "dora",
          "eva",
          "gralora",
          "hira",
          "kappatune",
          "kasa",
          "loftq",
          "loha",
          "lokr",
          "lora",
          "lora_ga",
          "lorafa",
          "loraplus",
          "mica",
          "miss",
          "monteclora",
          "oft",
          "olora",
          "orthogonal",
          "pissa",
          "qalora",
          "rslora",
          "shira",
          "velora");

  private Methods() {}

  static void require(String method) {
    if (!KNOWN.contains(method.replaceFirst("_niter_\\d+$", ""))) {
      throw new AssertionError(
          "the method is %s but only %s are known".formatted(method, new TreeSet<>(KNOWN)));
    }
  }
}
