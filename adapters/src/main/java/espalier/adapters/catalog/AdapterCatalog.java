package espalier.adapters.catalog;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AdapterFormat;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.Nearest;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.abba.AbbaFormat;
import espalier.adapters.adalora.AdaloraFormat;
import espalier.adapters.gralora.GraloraFormat;
import espalier.adapters.hira.HiraFormat;
import espalier.adapters.hirasb.HiraSbFormat;
import espalier.adapters.loha.LohaFormat;
import espalier.adapters.lokr.LokrFormat;
import espalier.adapters.lora.LoraFormat;
import espalier.adapters.miss.MissFormat;
import espalier.adapters.oft.OftFormat;
import espalier.adapters.shira.ShiraFormat;
import java.util.Collection;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** The methods that are known, by their name in files. */
public final class AdapterCatalog {

  private static final Set<String> PROMPTS =
      Set.of(
          "ADAPTION_PROMPT",
          "CPT",
          "MULTITASK_PROMPT_TUNING",
          "P_TUNING",
          "PREFIX_TUNING",
          "PROMPT_TUNING");

  private final Map<String, AdapterFormat<?>> formats;

  private AdapterCatalog(Map<String, AdapterFormat<?>> formats) {
    this.formats = Collections.unmodifiableMap(new TreeMap<>(formats));
  }

  /** All methods of this library. */
  public static AdapterCatalog standard() {
    return of(
        new AbbaFormat(),
        new AdaloraFormat(),
        new GraloraFormat(),
        new HiraFormat(),
        new HiraSbFormat(),
        new LohaFormat(),
        new LokrFormat(),
        new LoraFormat(),
        new MissFormat(),
        new OftFormat(),
        new ShiraFormat());
  }

  private static AdapterCatalog of(AdapterFormat<?>... all) {
    var formats = new TreeMap<String, AdapterFormat<?>>();
    for (AdapterFormat<?> format : all) {
      formats.put(format.peftType(), format);
    }
    return new AdapterCatalog(formats);
  }

  /** This catalog and one more method, which replaces one of the same name. */
  public AdapterCatalog with(AdapterFormat<?> format) {
    var more = new TreeMap<>(formats);
    more.put(format.peftType(), format);
    return new AdapterCatalog(more);
  }

  /** All methods, sorted by name. */
  public Collection<AdapterFormat<?>> formats() {
    return formats.values();
  }

  /** Whether a method of this name is known. */
  public boolean knows(String peftType) {
    return formats.containsKey(peftType);
  }

  /**
   * The method of this name.
   *
   * @throws ConfigException if it is not known
   * @throws UnsupportedAdapterException if it trains prompts, which are no adapters of layers
   */
  public AdapterFormat<?> format(String peftType) {
    AdapterFormat<?> format = formats.get(peftType);
    if (PROMPTS.contains(peftType)) {
      throw new UnsupportedAdapterException(
          "peft_type is %s, which trains a prompt and not a layer; there are %s"
              .formatted(peftType, String.join(", ", formats.keySet())));
    }
    if (format == null) {
      throw new ConfigException(
          "peft_type is %s but the catalog knows %s; nearest is %s"
              .formatted(
                  peftType,
                  String.join(", ", formats.keySet()),
                  Nearest.of(peftType.toUpperCase(Locale.ROOT), formats.keySet())));
    }
    return format;
  }

  /**
   * What was read from an {@code adapter_config.json}.
   *
   * @param config the config
   * @param warnings what the user should know, sentences
   * @param unknown the paths of fields that are not known, each with the nearest one that is
   */
  public record Read(AdapterConfig config, List<String> warnings, Map<String, String> unknown) {}

  /**
   * A config from the fields of an {@code adapter_config.json}.
   *
   * @throws ConfigException naming the field that is wrong, or the method that is not known
   */
  public Read read(ObjectNode fields) {
    JsonNode type = fields.get("peft_type");
    if (type == null || !type.isString()) {
      throw new ConfigException(
          "peft_type is %s but a config names its method there, one of %s"
              .formatted(type, String.join(", ", formats.keySet())));
    }
    var in = ConfigFields.of(fields);
    AdapterConfig config = format(type.stringValue()).read(in);
    JsonNode tied = in.unknown().get("ensure_weight_tying");
    if (tied != null && tied.asBoolean(false)) {
      in.idle(
          "ensure_weight_tying",
          "ensure_weight_tying is not implemented for %s and has no effect; only LORA ties what it trains"
              .formatted(type.stringValue()));
    }
    var unknown = in.unknown();
    if (!unknown.isEmpty()) {
      in.warn(
          "the fields %s are not known and are left as they are; a newer version may have written"
                  .formatted(unknown.keySet())
              + " them");
    }
    return new Read(
        config.withHead(config.head().withUnknown(in.kept())), in.warnings(), in.strangers());
  }

  /** The fields of a config as an {@code adapter_config.json} has them, keys sorted. */
  public ObjectNode write(AdapterConfig config) {
    return config.format().write(config);
  }
}
