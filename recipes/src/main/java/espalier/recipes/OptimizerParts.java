package espalier.recipes;

import espalier.nn.Shard;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.BiFunction;
import org.bytedeco.pytorch.Tensor;

/**
 * What an optimizer remembers of parameters that are split over ranks, as one rank alone would have
 * it. A slot is split as its parameter is; how many steps a parameter took is the same on all
 * ranks.
 */
final class OptimizerParts {

  private static final String STEP = "step";

  private OptimizerParts() {}

  /**
   * Puts the slots of all ranks together. All ranks must call it.
   *
   * @param state this rank's, by parameter and slot
   * @param shards how parameters are split, by name
   */
  static Map<String, Tensor> whole(Map<String, Tensor> state, Map<String, Shard> shards) {
    return each(state, shards, Shard::whole);
  }

  /** This rank's part of a whole state. */
  static Map<String, Tensor> parts(Map<String, Tensor> state, Map<String, Shard> shards) {
    return each(state, shards, Shard::of);
  }

  private static Map<String, Tensor> each(
      Map<String, Tensor> state,
      Map<String, Shard> shards,
      BiFunction<Shard, Tensor, Tensor> change) {
    var all = new LinkedHashMap<String, Tensor>();
    state.forEach(
        (key, tensor) -> {
          int cut = key.lastIndexOf('/');
          Shard shard = cut < 0 ? null : shards.get(key.substring(0, cut));
          boolean split = shard != null && !key.substring(cut + 1).equals(STEP);
          all.put(key, split ? change.apply(shard, tensor) : tensor);
        });
    return all;
  }
}
