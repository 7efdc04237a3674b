package espalier.parity;

import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** Compares plain values that a case produced with those in its {@code case.json}. */
final class ValueJudge {

  private static final Set<String> UNORDERED =
      Set.of("targeted_modules", "targeted_parameters", "wrapped_modules", "trainable_names");

  private ValueJudge() {}

  /** What is wrong, a sentence each; empty if all is well. Unexpected values do not count. */
  static List<String> faults(JsonNode expected, ObjectNode produced) {
    var faults = new ArrayList<String>();
    boolean compared = false;
    for (var entry : produced.properties()) {
      String name = entry.getKey();
      JsonNode want = expected.get(name);
      if (want == null) {
        continue;
      }
      compared = true;
      JsonNode got = entry.getValue();
      boolean same = UNORDERED.contains(name) ? sorted(got).equals(sorted(want)) : same(got, want);
      if (!same) {
        faults.add("%s is %s instead of %s".formatted(name, got, want));
      }
    }
    if (!compared) {
      faults.add("nothing that the case expects was produced");
    }
    return faults;
  }

  private static List<String> sorted(JsonNode list) {
    return elements(list).map(JsonNode::asString).sorted().toList();
  }

  private static Stream<JsonNode> elements(JsonNode list) {
    return StreamSupport.stream(list.spliterator(), false);
  }

  /** Numbers within 1e-6 + 1e-3 of the expected one, all else equal; fields in any order. */
  static boolean same(JsonNode got, JsonNode want) {
    if (got.isNumber() && want.isNumber()) {
      double expected = want.asDouble();
      return Math.abs(got.asDouble() - expected) <= 1e-6 + 1e-3 * Math.abs(expected);
    }
    if (got.isObject() && want.isObject()) {
      return got.size() == want.size()
          && want.propertyStream()
              .allMatch(
                  field -> {
                    JsonNode value = got.get(field.getKey());
                    return value != null && same(value, field.getValue());
                  });
    }
    if (got.isArray() && want.isArray()) {
      if (got.size() != want.size()) {
        return false;
      }
      for (int i = 0; i < want.size(); i++) {
        if (!same(got.get(i), want.get(i))) {
          return false;
        }
      }
      return true;
    }
    return got.equals(want);
  }
}
