package espalier.adapters.kappa;

import java.util.List;
import java.util.function.Consumer;

/**
 * Which weights are measured.
 *
 * @param maxDim weights with a longer side are passed over
 * @param moeSuffixes what the paths of stacked expert weights end with
 * @param conv1d whether GPT-2's Conv1D counts as a linear layer
 * @param excludeOutputHead whether the output head is passed over, which often wins
 * @param progress told the path of each weight before it is measured
 */
public record KappaOptions(
    long maxDim,
    List<String> moeSuffixes,
    boolean conv1d,
    boolean excludeOutputHead,
    Consumer<String> progress) {

  /** Copies the list. */
  public KappaOptions {
    moeSuffixes = List.copyOf(moeSuffixes);
  }

  /** Sides up to 16384, the usual experts, the output head, no Conv1D; told to nobody. */
  public static KappaOptions defaults() {
    return new KappaOptions(
        16384,
        List.of(".gate_up_proj", ".down_proj", ".gate_proj", ".up_proj"),
        false,
        false,
        _ -> {});
  }

  /** The same with another longest side. */
  public KappaOptions withMaxDim(long side) {
    return new KappaOptions(side, moeSuffixes, conv1d, excludeOutputHead, progress);
  }

  /** The same with other experts. */
  public KappaOptions withMoeSuffixes(List<String> suffixes) {
    return new KappaOptions(maxDim, suffixes, conv1d, excludeOutputHead, progress);
  }

  /** The same with or without Conv1D. */
  public KappaOptions withConv1d(boolean on) {
    return new KappaOptions(maxDim, moeSuffixes, on, excludeOutputHead, progress);
  }

  /** The same with or without the output head. */
  public KappaOptions withExcludeOutputHead(boolean on) {
    return new KappaOptions(maxDim, moeSuffixes, conv1d, on, progress);
  }

  /** The same told to somebody. */
  public KappaOptions withProgress(Consumer<String> told) {
    return new KappaOptions(maxDim, moeSuffixes, conv1d, excludeOutputHead, told);
  }
}
