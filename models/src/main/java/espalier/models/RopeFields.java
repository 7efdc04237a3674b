package espalier.models;

import org.jspecify.annotations.Nullable;

/**
 * Rotary positions in a config: {@code rope_parameters} as transformers 5 writes them, or {@code
 * rope_theta} and {@code rope_scaling} as before.
 */
final class RopeFields {

  private RopeFields() {}

  /**
   * The one rope of a family.
   *
   * @param dim width of a head
   * @param maxPositions the config's {@code max_position_embeddings}
   * @param theta the family's base
   */
  static Rope of(ConfigFields in, int dim, int maxPositions, double theta) {
    in.only("partial_rotary_factor", 1);
    ConfigFields newer = in.object("rope_parameters");
    ConfigFields scaling = in.object("rope_scaling");
    // The reference, too, lets the older field win.
    ConfigFields fields = scaling == null ? newer : scaling;
    double base = in.positive("rope_theta", theta);
    if (newer != null && scaling != null) {
      base = newer.positive("rope_theta", base);
    }
    return of(in, fields, dim, maxPositions, base);
  }

  /** A rope from an object, or the plain one if there is none. */
  static Rope of(
      ConfigFields in, @Nullable ConfigFields fields, int dim, int maxPositions, double theta) {
    if (dim % 2 != 0) {
      throw in.wrong("head_dim", dim, "an even number, since heads are rotated in pairs");
    }
    if (fields == null) {
      return new Rope(theta, dim, new RopeScaling.None(), maxPositions);
    }
    fields.only("partial_rotary_factor", 1);
    fields.only("mrope_section");
    double base = fields.positive("rope_theta", theta);
    return new Rope(base, dim, scaling(in, fields, dim, maxPositions, base), maxPositions);
  }

  private static RopeScaling scaling(
      ConfigFields in, ConfigFields fields, int dim, int maxPositions, double theta) {
    String name = fields.has("rope_type") ? "rope_type" : "type";
    String type = fields.text(name, "default");
    return switch (type) {
      case "default" -> new RopeScaling.None();
      case "linear" -> new RopeScaling.Linear(fields.positive("factor"));
      case "dynamic" -> {
        if (dim <= 2) {
          throw in.wrong("head_dim", dim, "more than 2 for dynamic scaling");
        }
        yield new RopeScaling.Dynamic(fields.positive("factor"));
      }
      case "llama3" -> llama3(fields, original(in, fields, maxPositions));
      case "yarn" -> {
        if (!(theta > 1)) {
          throw fields.wrong("rope_theta", theta, "a number above 1 for yarn");
        }
        yield yarn(fields, original(in, fields, maxPositions), maxPositions);
      }
      default ->
          throw new IllegalArgumentException(
              "config field %s = \"%s\" would change the result and is not honoured for %s; known are"
                      .formatted("rope_scaling." + name, type, in.owner())
                  + " default, linear, dynamic, llama3 and yarn");
    };
  }

  // A field outside of the object comes first, as in the reference.
  private static double original(ConfigFields in, ConfigFields fields, int maxPositions) {
    double within = fields.positive("original_max_position_embeddings", maxPositions);
    return in.positive("original_max_position_embeddings", within);
  }

  private static RopeScaling llama3(ConfigFields fields, double original) {
    double low = fields.positive("low_freq_factor");
    double high = fields.positive("high_freq_factor");
    if (!(high > low)) {
      throw fields.wrong("high_freq_factor", high, "more than low_freq_factor, which is " + low);
    }
    return new RopeScaling.Llama3(fields.positive("factor"), low, high, original);
  }

  private static RopeScaling yarn(ConfigFields fields, double original, int maxPositions) {
    double factor = fields.positive("factor", maxPositions / original);
    double mscale = fields.number("mscale", 0);
    double mscaleAll = fields.number("mscale_all_dim", 0);
    double inferred =
        mscale != 0 && mscaleAll != 0
            ? magnitude(factor, mscale) / magnitude(factor, mscaleAll)
            : magnitude(factor, 1);
    return new RopeScaling.Yarn(
        factor,
        fields.positive("attention_factor", inferred),
        fields.positive("beta_fast", 32),
        fields.positive("beta_slow", 1),
        original,
        fields.flag("truncate", true));
  }

  /** YaRN's temperature, equation 22 of the paper. */
  private static double magnitude(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
  }
}
