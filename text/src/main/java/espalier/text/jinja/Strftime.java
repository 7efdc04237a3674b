package espalier.text.jinja;

import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoField;
import java.time.temporal.IsoFields;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;

/** A time as text, with the directives of Python's strftime, in English. */
final class Strftime {

  /** Flags, width, a modifier that changes nothing in English, and the directive. */
  private static final Pattern FIELD = Pattern.compile("%([-_0^#]*)(\\d{0,3})[EO]?([a-zA-Z%])");

  private static final String NUMBERS = "CdeGgHIjklmMSsuUVwWyY";

  private Strftime() {}

  static String format(Run run, String format, ZonedDateTime time) {
    StringBuilder text = new StringBuilder();
    Matcher field = FIELD.matcher(format);
    int last = 0;
    for (int at = format.indexOf('%'); at >= 0; at = format.indexOf('%', last)) {
      text.append(format, last, at);
      if (!field.region(at, format.length()).lookingAt()) {
        text.append('%');
        last = at + 1;
        continue;
      }
      last = field.end();
      char directive = field.group(3).charAt(0);
      String value = directive(run, directive, time);
      text.append(value == null ? field.group() : laidOut(run, field, directive, value));
      run.string(text.length());
    }
    return text.append(format, last, format.length()).toString();
  }

  /** The value with the flags and the width of its field, as the C library has them. */
  private static String laidOut(Run run, Matcher field, char directive, String value) {
    String flags = field.group(1);
    boolean number = NUMBERS.indexOf(directive) >= 0;
    String laidOut = value;
    if (number && (flags.indexOf('-') >= 0 || flags.indexOf('_') >= 0)) {
      String digits = value.replaceFirst("^[0 ]+(?=.)", "");
      laidOut =
          flags.indexOf('-') >= 0 ? digits : " ".repeat(value.length() - digits.length()) + digits;
    } else if (number && flags.indexOf('0') >= 0) {
      laidOut = value.replace(' ', '0');
    }
    if (flags.indexOf('^') >= 0 || (flags.indexOf('#') >= 0 && directive != 'p')) {
      laidOut = laidOut.toUpperCase(Locale.ROOT);
    } else if (flags.indexOf('#') >= 0) {
      laidOut = laidOut.toLowerCase(Locale.ROOT);
    }
    int missing = (field.group(2).isEmpty() ? 0 : Integer.parseInt(field.group(2)));
    missing -= laidOut.length();
    if (missing <= 0) {
      return laidOut;
    }
    run.string(missing);
    boolean zeros = (number && directive != 'e') || flags.indexOf('0') >= 0;
    return (zeros && flags.indexOf('_') < 0 ? "0" : " ").repeat(missing) + laidOut;
  }

  /** What stands for a directive; null where there is none of the letter. */
  private static @Nullable String directive(Run run, char directive, ZonedDateTime time) {
    return switch (directive) {
      case 'Y' -> pattern(time, "yyyy");
      case 'y' -> pattern(time, "yy");
      case 'C' -> "%02d".formatted(time.getYear() / 100);
      case 'm' -> pattern(time, "MM");
      case 'B' -> pattern(time, "MMMM");
      case 'b', 'h' -> pattern(time, "MMM");
      case 'd' -> pattern(time, "dd");
      case 'e' -> "%2d".formatted(time.getDayOfMonth());
      case 'j' -> pattern(time, "DDD");
      case 'A' -> pattern(time, "EEEE");
      case 'a' -> pattern(time, "EEE");
      case 'u' -> String.valueOf(time.getDayOfWeek().getValue());
      case 'w' -> String.valueOf(time.getDayOfWeek().getValue() % 7);
      case 'U' -> "%02d".formatted(week(time, time.getDayOfWeek().getValue() % 7));
      case 'W' -> "%02d".formatted(week(time, time.getDayOfWeek().getValue() - 1));
      case 'g' -> "%02d".formatted(time.get(IsoFields.WEEK_BASED_YEAR) % 100);
      case 'G' -> String.valueOf(time.get(IsoFields.WEEK_BASED_YEAR));
      case 'V' -> "%02d".formatted(time.get(IsoFields.WEEK_OF_WEEK_BASED_YEAR));
      case 'H' -> pattern(time, "HH");
      case 'I' -> pattern(time, "hh");
      case 'k' -> "%2d".formatted(time.getHour());
      case 'l' -> "%2d".formatted((time.getHour() + 11) % 12 + 1);
      case 'M' -> pattern(time, "mm");
      case 'S' -> pattern(time, "ss");
      case 'f' -> "%06d".formatted(time.get(ChronoField.MICRO_OF_SECOND));
      case 'p' -> time.getHour() < 12 ? "AM" : "PM";
      case 'P' -> time.getHour() < 12 ? "am" : "pm";
      case 's' -> String.valueOf(time.toEpochSecond());
      case 'D', 'x' -> pattern(time, "MM/dd/yy");
      case 'F' -> pattern(time, "yyyy-MM-dd");
      case 'T', 'X' -> pattern(time, "HH:mm:ss");
      case 'R' -> pattern(time, "HH:mm");
      case 'r' -> format(run, "%I:%M:%S %p", time);
      case 'c' -> format(run, "%a %b %e %H:%M:%S %Y", time);
      case 'z', 'Z' -> ""; // the reference's time has no zone
      case 'n' -> "\n";
      case 't' -> "\t";
      case '%' -> "%";
      default -> null;
    };
  }

  /** Weeks that have begun this year, where {@code day} counts from the week's first day. */
  private static int week(ZonedDateTime time, int day) {
    return (time.getDayOfYear() - 1 + 7 - day) / 7;
  }

  private static String pattern(ZonedDateTime time, String pattern) {
    return time.format(DateTimeFormatter.ofPattern(pattern, Locale.ENGLISH));
  }
}
