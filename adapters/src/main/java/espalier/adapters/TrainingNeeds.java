package espalier.adapters;

import java.util.function.Predicate;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** What the active adapters need of whoever trains them, beside the loss of the model. */
final class TrainingNeeds {

  private final AdapterSet set;

  TrainingNeeds(AdapterSet set) {
    this.set = set;
  }

  /** What they add to the loss, summed, or null for nothing. */
  @Nullable Tensor penalty() {
    Tensor sum = null;
    for (String name : set.active()) {
      Tensor own = set.entry(name).config().penalty(set.on(name).values());
      if (own != null) {
        sum = sum == null ? own : sum.add(own);
      }
    }
    return sum;
  }

  /** Whether one of them learns from padded positions. */
  boolean readsPadding() {
    return any(AdapterConfig::readsPadding);
  }

  /** Whether one of them looks at an example as a whole. */
  boolean wholeExamples() {
    return any(AdapterConfig::needsWholeExamples);
  }

  private boolean any(Predicate<AdapterConfig> what) {
    return set.active().stream().anyMatch(name -> what.test(set.entry(name).config()));
  }
}
