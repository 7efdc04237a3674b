package espalier.parity;

import java.util.Map;
import java.util.TreeSet;

/** An adapter becomes another one: one experiment for each variant. */
final class ConvertCase implements Experiment {

  private static final Map<String, Experiment> BY_VARIANT =
      Map.of(
          "init", new ConvertStart(),
          "intruder", new ConvertIntruder(),
          "loftq", new ConvertLoftq(),
          "lora", new ConvertToLora());

  @Override
  public Outcome run(Case golden) {
    String variant = golden.get("variant").asString();
    Experiment experiment = BY_VARIANT.get(variant);
    if (experiment == null) {
      throw new AssertionError(
          "the variant is %s but only %s are known"
              .formatted(variant, new TreeSet<>(BY_VARIANT.keySet())));
    }
    return experiment.run(golden);
  }
}
