package espalier.adapters.lora;

import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The fields of which at most one may be set, each for a relative of LoRA. */
final class LoraVariantFields {

  /** Whether QALoRA refuses weights that are not quantised in groups; the reference never does. */
  static final String STRICT = "qalora_strict";

  private LoraVariantFields() {}

  static LoraVariant read(ConfigFields in) {
    var asked = new ArrayList<LoraVariant>();
    if (in.flag("use_dora", false)) {
      asked.add(new LoraVariant.Dora());
    }
    if (in.flag("use_qalora", false)) {
      asked.add(new LoraVariant.Qalora(in.flag(STRICT, true)));
    }
    List<Integer> tokens = in.integersOrNull("alora_invocation_tokens");
    if (tokens != null && !tokens.isEmpty()) {
      asked.add(new LoraVariant.Alora(tokens));
    }
    add(asked, in, "velora_config", LoraVariantFields::velora);
    add(asked, in, "monteclora_config", LoraVariantFields::monteclora);
    add(asked, in, "use_bdlora", LoraVariantFields::bdlora);
    add(asked, in, "arrow_config", LoraVariantFields::arrow);
    add(
        asked,
        in,
        "kasa_config",
        f -> new LoraVariant.Kasa(f.number("beta", 1e-4), f.number("gamma", 1e-3)));
    if (asked.size() > 1) {
      throw new ConfigException(
          "%s exclude each other; choose one"
              .formatted(String.join(" and ", asked.stream().map(LoraVariant::field).toList())));
    }
    return asked.isEmpty() ? new LoraVariant.Plain() : asked.getFirst();
  }

  private interface Reader {
    LoraVariant read(ConfigFields fields);
  }

  private static void add(List<LoraVariant> asked, ConfigFields in, String key, Reader reader) {
    ConfigFields nested = in.nested(key);
    if (nested != null) {
      asked.add(reader.read(nested));
      in.finish(nested);
    }
  }

  private static LoraVariant velora(ConfigFields f) {
    return new LoraVariant.Velora(
        f.integer("num_groups", 64), f.number("scale", 1), f.text("init_type", "batch_average"));
  }

  private static LoraVariant monteclora(ConfigFields f) {
    return new LoraVariant.Monteclora(
        f.integer("num_samples", 8),
        f.flag("use_entropy", false),
        f.number("dirichlet_prior", 0.1),
        f.number("sample_scaler", 1e-4),
        f.number("kl_loss_weight", 1e-5),
        f.integer("buffer_size", 150));
  }

  private static LoraVariant bdlora(ConfigFields f) {
    return new LoraVariant.Bdlora(
        f.textsOrNull("target_modules_bd_a"),
        f.textsOrNull("target_modules_bd_b"),
        f.integer("nblocks", 1),
        f.flag("match_strict", true));
  }

  private static LoraVariant arrow(ConfigFields f) {
    return new LoraVariant.Arrow(
        f.integer("top_k", 3),
        f.number("router_temperature", 1),
        f.flag("use_gks", false),
        f.integerOrNull("rng_seed"),
        f.textsOrNull("task_adapter_names"),
        f.textsOrNull("gks_adapter_names"));
  }

  static void write(LoraVariant variant, ConfigWriter out) {
    out.put("use_dora", variant instanceof LoraVariant.Dora)
        .put("use_qalora", variant instanceof LoraVariant.Qalora)
        .put("alora_invocation_tokens", (String) null)
        .put("velora_config", (String) null)
        .put("monteclora_config", (String) null)
        .put("use_bdlora", (String) null)
        .put("arrow_config", (String) null)
        .put("kasa_config", (String) null);
    @Nullable ConfigWriter own =
        switch (variant) {
          case LoraVariant.Plain(), LoraVariant.Dora() -> null;
          case LoraVariant.Qalora(boolean strict) -> {
            if (!strict) {
              out.put(STRICT, false);
            }
            yield null;
          }
          case LoraVariant.Alora(var tokens) -> {
            out.put("alora_invocation_tokens", tokens);
            yield null;
          }
          case LoraVariant.Velora(int groups, double scale, String init) ->
              ConfigWriter.empty()
                  .put("num_groups", groups)
                  .put("scale", scale)
                  .put("init_type", init);
          case LoraVariant.Monteclora m ->
              ConfigWriter.empty()
                  .put("num_samples", m.samples())
                  .put("use_entropy", m.entropy())
                  .put("dirichlet_prior", m.dirichletPrior())
                  .put("sample_scaler", m.sampleScaler())
                  .put("kl_loss_weight", m.klLossWeight())
                  .put("buffer_size", m.bufferSize());
          case LoraVariant.Bdlora bd ->
              ConfigWriter.empty()
                  .put("target_modules_bd_a", bd.a())
                  .put("target_modules_bd_b", bd.b())
                  .put("nblocks", bd.blocks())
                  .put("match_strict", bd.strict());
          case LoraVariant.Arrow arrow -> arrow(arrow);
          case LoraVariant.Kasa(double beta, double gamma) ->
              ConfigWriter.empty().put("beta", beta).put("gamma", gamma);
        };
    if (own != null) {
      out.putNested(variant.field(), own);
    }
  }

  private static ConfigWriter arrow(LoraVariant.Arrow arrow) {
    var own =
        ConfigWriter.empty()
            .put("top_k", arrow.topK())
            .put("router_temperature", arrow.temperature())
            .put("use_gks", arrow.generalKnowledge())
            .put("task_adapter_names", arrow.tasks())
            .put("gks_adapter_names", arrow.generals());
    Integer seed = arrow.seed();
    return seed == null ? own.put("rng_seed", (String) null) : own.put("rng_seed", seed);
  }
}
