package espalier.parity;

import espalier.adapters.combine.Combination;
import espalier.adapters.combine.CombinationType;
import espalier.adapters.combine.MajoritySign;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/** The arguments of a combination as the reference names them. */
final class Combinations {

  private Combinations() {}

  static Combination of(JsonNode args) {
    return Combination.of(CombinationType.of(args.path("combination_type").asString("svd")))
        .withSvdRank(args.hasNonNull("svd_rank") ? args.required("svd_rank").asInt() : null)
        .withSvdClamp(number(args, "svd_clamp"))
        .withSvdFullMatrices(args.path("svd_full_matrices").asBoolean(true))
        .withSvdDriver(
            args.hasNonNull("svd_driver") ? args.required("svd_driver").asString() : null)
        .withDensity(number(args, "density"))
        .withMajoritySign(MajoritySign.of(args.path("majority_sign_method").asString("total")));
  }

  static List<String> adapters(JsonNode args) {
    return MixedCase.names(args.required("adapters"));
  }

  static List<Double> weights(JsonNode args) {
    var weights = new ArrayList<Double>();
    args.required("weights").forEach(weight -> weights.add(weight.asDouble()));
    return weights;
  }

  private static @Nullable Double number(JsonNode args, String field) {
    return args.hasNonNull(field) ? args.required(field).asDouble() : null;
  }
}
