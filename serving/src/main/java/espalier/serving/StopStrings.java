package espalier.serving;

import java.util.List;

/** Lets text through up to the first stop string, and never a part of one. */
final class StopStrings {

  private final List<String> stops;
  private final StringBuilder held = new StringBuilder();
  private boolean found;

  StopStrings(List<String> stops) {
    this.stops = stops;
  }

  /** Takes more text and returns what is certain now. After a stop string that is nothing. */
  String push(String text) {
    if (found || text.isEmpty()) {
      return "";
    }
    if (stops.isEmpty()) {
      return text;
    }
    held.append(text);
    int first = Integer.MAX_VALUE;
    for (String stop : stops) {
      int at = held.indexOf(stop);
      first = at < 0 ? first : Math.min(first, at);
    }
    found = first < Integer.MAX_VALUE;
    return found ? take(first) : take(held.length() - longestStart());
  }

  /** Whether a stop string has appeared. */
  boolean found() {
    return found;
  }

  /** Returns what was held back, where the text ends without a stop string. */
  String finish() {
    return found ? "" : take(held.length());
  }

  private String take(int length) {
    String text = held.substring(0, length);
    held.delete(0, length);
    return text;
  }

  /** How many characters at the end are the start of a stop string. */
  private int longestStart() {
    int longest = 0;
    for (String stop : stops) {
      for (int n = Math.min(stop.length() - 1, held.length()); n > longest; n--) {
        if (stop.startsWith(held.substring(held.length() - n))) {
          longest = n;
        }
      }
    }
    return longest;
  }
}
