package espalier.text.jinja;

import java.math.BigInteger;

/** Whole numbers, which grow beyond 64 bits where they must, as Python's do. */
final class WholeNumbers {

  /** More than the largest double has; each further one costs time. */
  private static final int MOST_BITS = 4096;

  private WholeNumbers() {}

  static BigInteger of(Number number) {
    return number instanceof BigInteger big ? big : BigInteger.valueOf(number.longValue());
  }

  /** The number as the others have it: a Long where it fits. */
  static Number fitted(BigInteger number) {
    if (number.bitLength() > MOST_BITS) {
      throw new JinjaException("a whole number has more than %d bits".formatted(MOST_BITS));
    }
    return number.bitLength() > 63 ? (Number) number : (Number) number.longValue();
  }

  /**
   * The number that is written in digits.
   *
   * @throws NumberFormatException when it is none
   */
  static Number parse(String digits, int radix) {
    if (digits.length() > MOST_BITS) {
      throw new JinjaException("a whole number has more than %d digits".formatted(MOST_BITS));
    }
    return fitted(new BigInteger(digits, radix));
  }

  static Number compute(String operator, Number a, Number b) {
    if (a instanceof Long x && b instanceof Long y) {
      try {
        return compute(operator, (long) x, (long) y);
      } catch (ArithmeticException e) {
        // does not fit; the long way
      }
    }
    BigInteger x = of(a);
    BigInteger y = of(b);
    return fitted(
        switch (operator) {
          case "+" -> x.add(y);
          case "-" -> x.subtract(y);
          case "*" -> x.multiply(y);
          case "//" -> x.subtract(modulo(x, y)).divide(y);
          case "%" -> modulo(x, y);
          case "**" -> power(x, y);
          default -> throw unknown(operator);
        });
  }

  private static long compute(String operator, long x, long y) {
    return switch (operator) {
      case "+" -> Math.addExact(x, y);
      case "-" -> Math.subtractExact(x, y);
      case "*" -> Math.multiplyExact(x, y);
      case "//" -> y == -1 ? Math.negateExact(x) : Math.floorDiv(x, divisor(y));
      case "%" -> Math.floorMod(x, divisor(y));
      case "**" -> power(BigInteger.valueOf(x), BigInteger.valueOf(y)).longValueExact();
      default -> throw unknown(operator);
    };
  }

  private static JinjaException unknown(String operator) {
    return new JinjaException("the operator %s is not known".formatted(operator));
  }

  private static long divisor(long number) {
    if (number == 0) {
      throw new JinjaException("division by zero");
    }
    return number;
  }

  /** The remainder with the sign of the divisor. */
  private static BigInteger modulo(BigInteger x, BigInteger y) {
    divisor(y.signum());
    BigInteger rest = x.remainder(y);
    return rest.signum() * y.signum() < 0 ? rest.add(y) : rest;
  }

  private static BigInteger power(BigInteger base, BigInteger exponent) {
    if (base.abs().bitLength() <= 1) { // 0, 1 and -1, to whatever exponent
      return base.pow(exponent.signum() == 0 ? 0 : exponent.testBit(0) ? 1 : 2);
    }
    if (exponent.bitLength() > 31
        || (base.abs().bitLength() - 1L) * exponent.longValue() > MOST_BITS) {
      throw new JinjaException("a whole number has more than %d bits".formatted(MOST_BITS));
    }
    return base.pow(exponent.intValue());
  }
}
