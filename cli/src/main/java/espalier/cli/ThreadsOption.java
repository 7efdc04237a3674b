package espalier.cli;

import espalier.nn.Native;
import picocli.CommandLine.Option;

/** How many threads compute. */
final class ThreadsOption {

  @Option(
      names = "--threads",
      paramLabel = "N",
      description = "Threads of libtorch (default: one a core)")
  private int threads;

  /** 0 for one a core. */
  int number() {
    return threads;
  }

  /** Makes it so, where a number was given. */
  void apply() {
    if (threads != 0) {
      Native.threads(threads);
    }
  }
}
