package espalier.training;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Where an axis has its marks: at multiples of 1, 2 or 5 times a power of ten.
 *
 * @param values from the first at or below the lowest value to the first at or above the highest
 * @param step between two marks
 */
record Ticks(List<Double> values, double step) {

  /** About {@code count} marks around [{@code low}, {@code high}]. */
  static Ticks around(double low, double high, int count) {
    // A flat line still needs an axis of some height.
    double span = high > low ? high - low : Math.max(Math.abs(high), 1e-9);
    double rough = span / count;
    double ten = Math.pow(10, Math.floor(Math.log10(rough)));
    double step =
        ten * (rough < 1.5 * ten ? 1 : rough < 3.5 * ten ? 2 : rough < 7.5 * ten ? 5 : 10);
    long first = (long) Math.floor(low / step + 1e-9);
    long last = Math.max(first + 1, (long) Math.ceil(high / step - 1e-9));
    var values = new ArrayList<Double>();
    for (long i = first; i <= last; i++) {
      values.add(i * step);
    }
    return new Ticks(List.copyOf(values), step);
  }

  double low() {
    return values.getFirst();
  }

  double high() {
    return values.getLast();
  }

  /** A value as the axis shows it: no more digits than tell two marks apart. */
  String label(double value) {
    if (value == 0) {
      return "0";
    }
    if (Math.max(Math.abs(low()), Math.abs(high())) < 0.01) {
      return new BigDecimal(String.format(Locale.ROOT, "%.2e", value))
          .stripTrailingZeros()
          .unscaledValue()
          .toString()
          .transform(digits -> scientific(digits, value));
    }
    int decimals = (int) Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    return String.format(Locale.ROOT, "%,." + decimals + "f", value);
  }

  /** {@code 2e-4} rather than 0.0002, as people write learning rates. */
  private static String scientific(String digits, double value) {
    int exponent = (int) Math.floor(Math.log10(Math.abs(value)) + 1e-9);
    int lead = digits.startsWith("-") ? 2 : 1;
    String mantissa =
        digits.length() == lead ? digits : digits.substring(0, lead) + "." + digits.substring(lead);
    return mantissa + "e" + exponent;
  }
}
