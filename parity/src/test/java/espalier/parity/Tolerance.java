package espalier.parity;

import tools.jackson.databind.JsonNode;

/**
 * How far a tensor may be from what is expected: the largest absolute difference may reach {@code
 * atol + rtol * max|expected|}.
 *
 * @param rtol part that grows with the largest expected magnitude
 * @param atol part that is always allowed
 */
record Tolerance(double rtol, double atol) {

  static Tolerance of(JsonNode json) {
    return new Tolerance(json.required("rtol").asDouble(), json.required("atol").asDouble());
  }

  double limit(double peak) {
    return atol + rtol * peak;
  }
}
