package espalier.adapters;

/** Told of each layer while a model is merged. What it throws ends the merge; nothing is merged. */
@FunctionalInterface
public interface MergeProgress {

  /** Tells nobody. */
  MergeProgress SILENT = (_, _, _) -> {};

  /**
   * A layer's merged weight is computed. All of them are put in place together after the last.
   *
   * @param path the layer
   * @param done layers so far, this one included
   * @param all layers to merge
   */
  void computed(String path, int done, int all);
}
