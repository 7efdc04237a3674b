package espalier.adapters.lora;

import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/** {@code init_lora_weights} and the objects that belong to some of its words. */
final class LoraInitFields {

  private static final String KNOWN =
      "true, false, gaussian, orthogonal, pissa, pissa_niter_N, olora, corda, eva, loftq, lora_ga"
          + " and mica";

  /** The objects that belong to one start each. */
  static final List<String> SETTINGS =
      List.of("eva_config", "corda_config", "lora_ga_config", "loftq_config");

  private LoraInitFields() {}

  static LoraInit read(ConfigFields in) {
    LoraInit init = start(in);
    ignore(in, "eva_config", init instanceof LoraInit.Eva);
    ignore(in, "corda_config", init instanceof LoraInit.Corda);
    ignore(in, "lora_ga_config", init instanceof LoraInit.LoraGa);
    ConfigFields loftq = in.nested("loftq_config");
    if (loftq != null && !loftq.unknown().isEmpty() && !(init instanceof LoraInit.Loftq)) {
      in.warn("loftq_config counts with init_lora_weights loftq only and is cleared");
    }
    return init;
  }

  private static void ignore(ConfigFields in, String key, boolean used) {
    if (!used && in.json(key) != null) {
      in.idle(key, key + " does not belong to this init_lora_weights and has no effect");
    }
  }

  private static LoraInit start(ConfigFields in) {
    JsonNode node = in.json("init_lora_weights");
    if (node == null || (node.isBoolean() && node.booleanValue())) {
      return new LoraInit.Uniform();
    }
    if (node.isBoolean()) {
      return new LoraInit.Unset();
    }
    String word = in.text("init_lora_weights", "");
    return switch (word) {
      case "orthogonal" -> new LoraInit.Orthogonal();
      case "pissa" -> new LoraInit.Pissa();
      case "corda" -> corda(in, used(in, "corda_config", word));
      case "eva" -> eva(in, used(in, "eva_config", word));
      case "lora_ga" -> loraGa(in, used(in, "lora_ga_config", word));
      case "loftq" -> loftq(in, in.nested("loftq_config"));
      default -> anyCase(word);
    };
  }

  private static LoraInit anyCase(String word) {
    return switch (word.toLowerCase(Locale.ROOT)) {
      case "gaussian" -> new LoraInit.Gaussian();
      case "olora" -> new LoraInit.Olora();
      case "mica" -> new LoraInit.Mica();
      default -> {
        if (!word.startsWith("pissa_niter_")) {
          throw new ConfigException(
              "init_lora_weights is %s but %s are known".formatted(word, KNOWN));
        }
        try {
          yield new LoraInit.FastPissa(Integer.parseInt(word.substring("pissa_niter_".length())));
        } catch (NumberFormatException e) {
          throw new ConfigException(
              "init_lora_weights is %s but pissa_niter_ ends with a whole number, such as 16"
                  .formatted(word));
        }
      }
    };
  }

  private static @Nullable ConfigFields used(ConfigFields in, String key, String word) {
    ConfigFields nested = in.nested(key);
    if (nested == null) {
      in.warn("init_lora_weights is %s without %s; its defaults are used".formatted(word, key));
    }
    return nested;
  }

  private static LoraInit corda(ConfigFields in, @Nullable ConfigFields own) {
    ConfigFields fields = own == null ? ConfigFields.empty() : own;
    String method = fields.text("corda_method", "ipm");
    if (!List.of("ipm", "kpm").contains(method)) {
      throw new ConfigException(
          "corda_config.corda_method is %s but ipm and kpm are known".formatted(method));
    }
    var corda =
        new LoraInit.Corda(
            fields.textOrNull("cache_file"),
            fields.textOrNull("covariance_file"),
            method.equals("kpm"),
            fields.flag("verbose", false),
            fields.flag("use_float16_for_covariance", false),
            fields.flag("prune_temporary_fields", true));
    in.finish(fields);
    return corda;
  }

  private static LoraInit eva(ConfigFields in, @Nullable ConfigFields own) {
    ConfigFields fields = own == null ? ConfigFields.empty() : own;
    var usual = LoraInit.Eva.defaults();
    var eva =
        new LoraInit.Eva(
            fields.number("rho", usual.rho()),
            fields.number("tau", usual.tau()),
            fields.flag("use_label_mask", usual.useLabelMask()),
            fields.integer("label_mask_value", usual.labelMaskValue()),
            fields.flag("whiten", usual.whiten()),
            fields.flag("adjust_scaling_factors", usual.adjustScaling()));
    in.finish(fields);
    return eva;
  }

  private static LoraInit loraGa(ConfigFields in, @Nullable ConfigFields own) {
    ConfigFields fields = own == null ? ConfigFields.empty() : own;
    var usual = LoraInit.LoraGa.defaults();
    String direction = fields.text("direction", usual.direction().written());
    String scale = fields.text("scale", usual.scale().written());
    LoraInit.Direction where = null;
    var directions = new ArrayList<String>();
    for (LoraInit.Direction d : LoraInit.Direction.values()) {
      directions.add(d.written());
      where = d.written().equals(direction) ? d : where;
    }
    LoraInit.Scale how = null;
    var scales = new ArrayList<String>();
    for (LoraInit.Scale s : LoraInit.Scale.values()) {
      scales.add(s.written());
      how = s.written().equals(scale) ? s : how;
    }
    if (where == null) {
      throw new ConfigException(
          "lora_ga_config.direction is %s but %s are known".formatted(direction, directions));
    }
    if (how == null) {
      throw new ConfigException(
          "lora_ga_config.scale is %s but %s are known".formatted(scale, scales));
    }
    var ga = new LoraInit.LoraGa(where, how, fields.integer("stable_gamma", usual.stableGamma()));
    in.finish(fields);
    return ga;
  }

  private static LoraInit loftq(ConfigFields in, @Nullable ConfigFields own) {
    if (own == null || own.unknown().isEmpty()) {
      throw new ConfigException(
          "init_lora_weights is loftq without loftq_config; give {\"loftq_bits\": 4}");
    }
    var loftq = new LoraInit.Loftq(own.integer("loftq_bits", 4), own.integer("loftq_iter", 1));
    in.finish(own);
    return loftq;
  }

  static void write(LoraInit init, ConfigWriter out) {
    out.put("eva_config", (String) null)
        .put("corda_config", (String) null)
        .put("lora_ga_config", (String) null)
        .putNested("loftq_config", ConfigWriter.empty());
    switch (init) {
      case LoraInit.Uniform() -> out.put("init_lora_weights", true);
      case LoraInit.Unset() -> out.put("init_lora_weights", false);
      default -> out.put("init_lora_weights", word(init));
    }
    var own = ConfigWriter.empty();
    switch (init) {
      case LoraInit.Corda corda ->
          out.putNested(
              "corda_config",
              own.put("cache_file", corda.cacheFile())
                  .put("covariance_file", corda.covarianceFile())
                  .put("corda_method", corda.knowledge() ? "kpm" : "ipm")
                  .put("verbose", corda.verbose())
                  .put("use_float16_for_covariance", corda.halfCovariance())
                  .put("prune_temporary_fields", corda.pruneFields()));
      case LoraInit.Eva eva ->
          out.putNested(
              "eva_config",
              own.put("rho", eva.rho())
                  .put("tau", eva.tau())
                  .put("use_label_mask", eva.useLabelMask())
                  .put("label_mask_value", eva.labelMaskValue())
                  .put("whiten", eva.whiten())
                  .put("adjust_scaling_factors", eva.adjustScaling()));
      case LoraInit.LoraGa ga ->
          out.putNested(
              "lora_ga_config",
              own.put("direction", ga.direction().written())
                  .put("scale", ga.scale().written())
                  .put("stable_gamma", ga.stableGamma()));
      case LoraInit.Loftq(int bits, int iterations) ->
          out.putNested("loftq_config", own.put("loftq_bits", bits).put("loftq_iter", iterations));
      default -> {}
    }
  }

  static String word(LoraInit init) {
    return switch (init) {
      case LoraInit.Uniform() -> "true";
      case LoraInit.Unset() -> "false";
      case LoraInit.Gaussian() -> "gaussian";
      case LoraInit.Orthogonal() -> "orthogonal";
      case LoraInit.Pissa() -> "pissa";
      case LoraInit.FastPissa(int iterations) -> "pissa_niter_" + iterations;
      case LoraInit.Olora() -> "olora";
      case LoraInit.Mica() -> "mica";
      case LoraInit.Corda _ -> "corda";
      case LoraInit.Eva _ -> "eva";
      case LoraInit.Loftq _ -> "loftq";
      case LoraInit.LoraGa _ -> "lora_ga";
    };
  }
}
