package espalier.text.jinja;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** Cuts texts into parts, as Python's split methods do. */
final class Splitting {

  private Splitting() {}

  /** Cuts at a separator, at most {@code most} times where that is not negative. */
  static List<Object> by(Run run, String text, String separator, int most, boolean fromRight) {
    if (separator.isEmpty()) {
      throw new JinjaException("empty separator");
    }
    List<Object> parts = new ArrayList<>();
    int start = 0;
    int end = text.length();
    for (int left = most; left != 0; left--) {
      int at =
          fromRight
              ? CodePoints.findLast(run, text, separator, end - separator.length())
              : find(run, text, separator, start);
      if (at < 0) {
        break;
      }
      run.list(1);
      if (fromRight) {
        parts.add(run.made(text.substring(at + separator.length(), end)));
        end = at;
      } else {
        parts.add(run.made(text.substring(start, at)));
        start = at + separator.length();
      }
    }
    parts.add(run.made(text.substring(start, end)));
    if (fromRight) {
      Collections.reverse(parts);
    }
    return parts;
  }

  /** As {@link CodePoints#find}, but accounts for what is searched and not for what is left. */
  private static int find(Run run, String text, String separator, int from) {
    int at = text.indexOf(separator, from);
    run.walk(((at < 0 ? text.length() : at) - from) * (long) separator.length() / 8);
    run.step();
    return at;
  }

  /** Cuts at runs of white space, and leaves out empty parts; what is not cut keeps its end. */
  static List<Object> bySpace(Run run, String text, int most, boolean fromRight) {
    List<Object> parts = new ArrayList<>();
    String rest = StringMethods.strip(run, text, null, !fromRight, fromRight);
    int start = 0;
    int end = rest.length();
    for (int left = most; left != 0 && start < end; left--) {
      int cut = fromRight ? end : start;
      while (fromRight
          ? cut > start && !spaceBefore(rest, cut)
          : cut < end && !spaceAt(rest, cut)) {
        cut += fromRight ? -1 : 1;
      }
      run.list(1);
      if (fromRight) {
        parts.add(run.made(rest.substring(cut, end)));
        while (cut > start && spaceBefore(rest, cut)) {
          cut--;
        }
        end = cut;
      } else {
        parts.add(run.made(rest.substring(start, cut)));
        while (cut < end && spaceAt(rest, cut)) {
          cut++;
        }
        start = cut;
      }
    }
    if (start < end) {
      parts.add(run.made(rest.substring(start, end)));
    }
    if (fromRight) {
      Collections.reverse(parts);
    }
    return parts;
  }

  private static boolean spaceAt(String text, int unit) {
    return PythonText.isSpace(text.charAt(unit)); // no white space lies beyond U+FFFF
  }

  private static boolean spaceBefore(String text, int unit) {
    return PythonText.isSpace(text.charAt(unit - 1));
  }

  /** Cuts after line ends of all kinds. */
  static List<Object> lines(Run run, String text, boolean keepEnds) {
    List<Object> lines = new ArrayList<>();
    int start = 0;
    for (int i = 0; i < text.length(); i++) {
      if (!endsLine(text.charAt(i))) {
        continue;
      }
      int next = text.startsWith("\r\n", i) ? i + 2 : i + 1;
      run.list(1);
      lines.add(run.made(text.substring(start, keepEnds ? next : i)));
      start = next;
      i = next - 1;
    }
    if (start < text.length()) {
      lines.add(run.made(text.substring(start)));
    }
    return lines;
  }

  private static boolean endsLine(char c) {
    return (c >= 0x0A && c <= 0x0D)
        || (c >= 0x1C && c <= 0x1E)
        || c == 0x85
        || c == 0x2028
        || c == 0x2029;
  }
}
