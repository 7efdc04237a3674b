package espalier.cli;

import java.util.function.Function;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/**
 * A figure of the table, and where each side has it.
 *
 * @param name what is measured, with its unit
 * @param ours reads it from a result of ours; null where it is not there
 * @param theirs reads it from a result of the reference
 * @param peak reads the peak of memory, in MB, that stands beside it, or null if it belongs to
 *     another row; the same on both sides
 */
record BenchFigure(
    String name,
    Function<JsonNode, @Nullable Double> ours,
    Function<JsonNode, @Nullable Double> theirs,
    @Nullable Function<JsonNode, @Nullable Double> peak) {

  /** One that stands at the same place on both sides. */
  static BenchFigure of(String name, String pointer) {
    return beside(name, pointer, pointer);
  }

  /** One that stands at different places. */
  static BenchFigure beside(String name, String pointer, String their) {
    return new BenchFigure(name, at(pointer), at(their), null);
  }

  BenchFigure withTheirs(Function<JsonNode, @Nullable Double> reading) {
    return new BenchFigure(name, ours, reading, peak);
  }

  BenchFigure withPeak(String pointer) {
    return new BenchFigure(name, ours, theirs, at(pointer));
  }

  static Function<JsonNode, @Nullable Double> at(String pointer) {
    return result -> {
      JsonNode value = result.at(pointer);
      return value.isNumber() ? Double.valueOf(value.asDouble()) : null;
    };
  }

  /** What one number of a result is of another. */
  static Function<JsonNode, @Nullable Double> quotient(String over, String under) {
    return result -> {
      Double a = at(over).apply(result);
      Double b = at(under).apply(result);
      return a == null || b == null || b == 0 ? null : Double.valueOf(a / b);
    };
  }
}
