package espalier.checkpoints;

import java.math.BigDecimal;
import java.util.Map;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;
import tools.jackson.databind.util.RawValue;

/**
 * Fractions as Python writes them, so that a config is byte for byte that of the reference: {@code
 * 1e-05} where Java says {@code 1.0E-5}.
 */
final class PythonNumbers {

  private PythonNumbers() {}

  /** A copy of a tree that prints so. */
  static JsonNode in(JsonNode node) {
    return switch (node) {
      case ObjectNode object -> {
        ObjectNode copy = JsonNodeFactory.instance.objectNode();
        for (Map.Entry<String, JsonNode> each : object.properties()) {
          copy.set(each.getKey(), in(each.getValue()));
        }
        yield copy;
      }
      case ArrayNode array -> {
        ArrayNode copy = JsonNodeFactory.instance.arrayNode();
        array.forEach(each -> copy.add(in(each)));
        yield copy;
      }
      case JsonNode number when number.isDouble() && Double.isFinite(number.doubleValue()) ->
          JsonNodeFactory.instance.rawValueNode(new RawValue(text(number.doubleValue())));
      default -> node;
    };
  }

  /** The fewest digits that are this number, with an exponent below 1e-4 and from 1e16 on. */
  static String text(double value) {
    double size = Math.abs(value);
    if (value == 0 || (size >= 1e-4 && size < 1e16)) {
      String plain = new BigDecimal(Double.toString(value)).stripTrailingZeros().toPlainString();
      String signed = value == 0 && 1 / value < 0 ? "-0.0" : plain;
      return signed.contains(".") ? signed : signed + ".0";
    }
    String[] parts = Double.toString(value).split("E", 2);
    int exponent = Integer.parseInt(parts[1]);
    return "%se%s%02d"
        .formatted(parts[0].replaceAll("\\.0$", ""), exponent < 0 ? "-" : "+", Math.abs(exponent));
  }
}
