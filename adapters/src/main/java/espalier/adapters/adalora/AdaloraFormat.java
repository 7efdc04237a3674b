package espalier.adapters.adalora;

import espalier.adapters.AdapterFormat;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import espalier.adapters.lora.LoraFormat;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/** AdaLoRA in {@code adapter_config.json}, field for field as PEFT's AdaLoraConfig writes it. */
public final class AdaloraFormat implements AdapterFormat<AdaloraConfig> {

  private static final String RANKS = "rank_pattern";

  @Override
  public String peftType() {
    return "ADALORA";
  }

  @Override
  public Class<AdaloraConfig> configType() {
    return AdaloraConfig.class;
  }

  @Override
  public AdaloraConfig read(ConfigFields in) {
    Map<String, List<Boolean>> kept = kept(in.json(RANKS));
    return new AdaloraConfig(
        new LoraFormat().read(in.without(RANKS)),
        Allocation.read(in),
        in.number("orth_reg_weight", 0.5),
        kept);
  }

  private static @Nullable Map<String, List<Boolean>> kept(@Nullable JsonNode ranks) {
    if (ranks == null) {
      return null;
    }
    var kept = new LinkedHashMap<String, List<Boolean>>();
    for (Map.Entry<String, JsonNode> entry : ranks.properties()) {
      var flags = new ArrayList<Boolean>();
      for (JsonNode flag : entry.getValue()) {
        if (!flag.isBoolean()) {
          throw new ConfigException(
              "rank_pattern has %s for %s but AdaLoRA has true or false there for each rank"
                  .formatted(entry.getValue(), entry.getKey()));
        }
        flags.add(flag.booleanValue());
      }
      kept.put(entry.getKey(), List.copyOf(flags));
    }
    return kept;
  }

  @Override
  public void write(AdaloraConfig config, ConfigWriter out) {
    new LoraFormat().write(config.lora(), out);
    out.put("peft_type", peftType());
    config.allocation().write(out);
    out.put("orth_reg_weight", config.orthogonality());
    Map<String, List<Boolean>> kept = config.kept();
    if (kept == null) {
      out.put(RANKS, (String) null);
      return;
    }
    ObjectNode ranks = JsonNodeFactory.instance.objectNode();
    kept.forEach(
        (key, flags) -> {
          var array = ranks.putArray(key);
          flags.forEach(flag -> array.add(flag.booleanValue()));
        });
    out.put(RANKS, (JsonNode) ranks);
  }
}
