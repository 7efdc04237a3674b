package espalier.checkpoints;

import java.util.Locale;

/** Sizes as people read them. */
final class Bytes {

  private Bytes() {}

  /** Decimal units, as hubs and disk makers count: {@code 538.1 MB}. */
  static String text(long bytes) {
    if (bytes < 1000) {
      return bytes == 1 ? "1 byte" : bytes + " bytes";
    }
    double value = bytes / 1000.0;
    int unit = 0;
    while (value >= 999.95 && unit < 3) {
      value /= 1000;
      unit++;
    }
    return String.format(
        Locale.ROOT, "%.1f %s", value, new String[] {"kB", "MB", "GB", "TB"}[unit]);
  }
}
