package espalier.text.jinja;

import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.time.temporal.ChronoField;
import java.time.temporal.IsoFields;
import java.util.Locale;

/** A time as text, with the directives of Python's strftime, in English. */
final class Strftime {

  private Strftime() {}

  static String format(Run run, String format, ZonedDateTime time) {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < format.length(); i++) {
      char c = format.charAt(i);
      if (c != '%' || i + 1 == format.length()) {
        text.append(c);
        continue;
      }
      boolean bare = format.charAt(i + 1) == '-' && i + 2 < format.length(); // without zeros
      i += bare ? 2 : 1;
      String value = directive(run, format.charAt(i), time);
      text.append(bare ? withoutZeros(value) : value);
      run.string(text.length());
    }
    return text.toString();
  }

  private static String withoutZeros(String value) {
    int zeros = 0;
    while (zeros < value.length() - 1 && value.charAt(zeros) == '0') {
      zeros++;
    }
    return value.substring(zeros);
  }

  private static String directive(Run run, char directive, ZonedDateTime time) {
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
      case 'G' -> String.valueOf(time.get(IsoFields.WEEK_BASED_YEAR));
      case 'V' -> "%02d".formatted(time.get(IsoFields.WEEK_OF_WEEK_BASED_YEAR));
      case 'H' -> pattern(time, "HH");
      case 'I' -> pattern(time, "hh");
      case 'M' -> pattern(time, "mm");
      case 'S' -> pattern(time, "ss");
      case 'f' -> "%06d".formatted(time.get(ChronoField.MICRO_OF_SECOND));
      case 'p' -> time.getHour() < 12 ? "AM" : "PM";
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
      default ->
          throw new JinjaException(
              "strftime_now() does not know the directive %%%c".formatted(directive));
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
