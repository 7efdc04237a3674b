package espalier.adapters.combine;

import espalier.adapters.ConfigException;
import espalier.adapters.lora.LoraConfig;
import java.util.List;
import java.util.Objects;

/** The rank of a combination. */
record CombinationRank(int value) {

  static CombinationRank of(Combination how, List<LoraConfig> sources) {
    List<Integer> ranks = sources.stream().map(CombinedConfig::largestRank).toList();
    int largest = ranks.stream().reduce(1, Math::max);
    return new CombinationRank(
        switch (how.type().form()) {
          case STACK -> ranks.stream().reduce(0, Math::addExact);
          case UPDATE -> Objects.requireNonNullElse(how.svdRank(), largest);
          case FACTORS -> {
            if (ranks.stream().distinct().count() > 1) {
              throw new ConfigException(
                  "the adapters have the ranks %s but %s needs equal ones; use cat or svd"
                      .formatted(ranks, how.type().word()));
            }
            yield largest;
          }
        });
  }
}
