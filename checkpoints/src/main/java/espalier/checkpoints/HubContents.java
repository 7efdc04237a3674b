package espalier.checkpoints;

import java.nio.file.Path;
import java.util.List;

/** What of a repository is wanted, and when a snapshot has all of it. */
interface HubContents {

  /** What it is called in messages. */
  String noun();

  /**
   * The small files that are fetched first.
   *
   * @throws CheckpointException if the repository holds nothing of the kind
   */
  List<String> companions(List<String> names);

  /**
   * The files with tensors, fetched after the companions: a snapshot that has the last is whole.
   *
   * @param snapshot where the companions lie by now
   * @throws CheckpointException if the repository has none that are read
   */
  List<String> weights(List<String> names, Path snapshot);

  /** Whether all of it is in the cache. */
  boolean isWhole(Path snapshot);
}
