package espalier.adapters.lora;

import espalier.adapters.AdapterFormat;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigWriter;
import espalier.adapters.ExpertKeys;
import espalier.adapters.TokenRows;
import espalier.adapters.Violations;
import espalier.nn.Adaptable;
import espalier.nn.AttentionProjection;
import espalier.nn.Layer;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;

/** LoRA in {@code adapter_config.json}, field for field as PEFT's LoraConfig writes it. */
public final class LoraFormat implements AdapterFormat<LoraConfig> {

  @Override
  public String peftType() {
    return "LORA";
  }

  @Override
  public Class<LoraConfig> configType() {
    return LoraConfig.class;
  }

  @Override
  public Set<String> ownFields() {
    return Set.of(LoraVariantFields.STRICT);
  }

  @Override
  public LoraConfig read(ConfigFields in) {
    if (in.json("runtime_config") != null) {
      in.warn("runtime_config belongs to one run and is left out");
    }
    var builder = LoraConfig.builder();
    LoraConfig config =
        new Violations()
            .noting(() -> builder.head(in.head()))
            .noting(
                () ->
                    builder.targets(
                        in.targets().withParameters(in.textsOrNull("target_parameters"))))
            .noting(() -> builder.r(in.integer("r", 8)))
            .noting(() -> builder.alpha(in.number("lora_alpha", 8)))
            .noting(() -> builder.dropout(in.number("lora_dropout", 0)))
            .noting(() -> builder.rankPattern(in.integersByPath("rank_pattern").entries()))
            .noting(() -> builder.alphaPattern(in.numbersByPath("alpha_pattern").entries()))
            .noting(() -> builder.rslora(in.flag("use_rslora", false)))
            .noting(() -> builder.init(LoraInitFields.read(in)))
            .noting(() -> builder.variant(LoraVariantFields.read(in)))
            .noting(() -> builder.bias(BiasTraining.of(in, "lora_only")))
            .noting(() -> builder.loraBias(in.flag("lora_bias", false)))
            .noting(() -> builder.tokens(tokens(in)))
            .noting(() -> builder.layerReplication(replication(in)))
            .noting(() -> builder.ensureWeightTying(in.flag("ensure_weight_tying", false)))
            .noting(() -> builder.qaloraGroupSize(in.integer("qalora_group_size", 16)))
            .noting(() -> builder.megatron(megatron(in)))
            .made(builder::build);
    String otherTask = LoraChecks.otherTask(config.variant(), config.head().taskType());
    if (otherTask != null) {
      in.warn(otherTask);
    }
    return config;
  }

  private static Megatron megatron(ConfigFields in) {
    return new Megatron(in.json("megatron_config"), in.text("megatron_core", "megatron.core"));
  }

  @Override
  public void write(LoraConfig config, ConfigWriter out) {
    out.head(peftType(), config.head()).targets(config.targets());
    out.put("target_parameters", config.targets().parameters())
        .put("r", config.r())
        .putNumber("lora_alpha", config.alpha())
        .put("lora_dropout", config.dropout())
        .put("rank_pattern", config.rankPattern())
        .put("alpha_pattern", config.alphaPattern())
        .put("use_rslora", config.rslora())
        .put("bias", config.bias().word("lora_only"))
        .put("lora_bias", config.loraBias())
        .put("layer_replication", config.layerReplication())
        .put("ensure_weight_tying", config.ensureWeightTying())
        .put("qalora_group_size", config.qaloraGroupSize())
        .put("megatron_config", config.megatron().config())
        .put("megatron_core", config.megatron().core());
    LoraInitFields.write(config.init(), out);
    LoraVariantFields.write(config.variant(), out);
    switch (config.tokens()) {
      case null -> out.put("trainable_token_indices", (String) null);
      case TokenRows.OfInput(var tokens) -> out.put("trainable_token_indices", tokens);
      case TokenRows.OfLayers(var tokens) -> {
        var nested = ConfigWriter.empty();
        tokens.forEach(nested::put);
        out.putNested("trainable_token_indices", nested);
      }
    }
  }

  /** The word for a start, as {@code init_lora_weights} has it. */
  static String word(LoraInit init) {
    return LoraInitFields.word(init);
  }

  private static @Nullable TokenRows tokens(ConfigFields in) {
    JsonNode node = in.json("trainable_token_indices");
    if (node == null) {
      return null;
    }
    if (node.isArray()) {
      return new TokenRows.OfInput(
          List.copyOf(Objects.requireNonNull(in.integersOrNull("trainable_token_indices"))));
    }
    ConfigFields nested = Objects.requireNonNull(in.nested("trainable_token_indices"));
    var layers = new LinkedHashMap<String, List<Integer>>();
    for (Map.Entry<String, JsonNode> entry : node.properties()) {
      List<Integer> rows = nested.integersOrNull(entry.getKey());
      layers.put(entry.getKey(), rows == null ? List.of() : rows);
    }
    return new TokenRows.OfLayers(layers);
  }

  private static @Nullable List<List<Integer>> replication(ConfigFields in) {
    JsonNode node = in.json("layer_replication");
    if (node == null) {
      return null;
    }
    boolean pairs = node.isArray();
    var ranges = new ArrayList<List<Integer>>();
    for (JsonNode range : node) {
      pairs &= range.isArray();
      var bounds = new ArrayList<Integer>();
      for (JsonNode bound : range) {
        pairs &= bound.isIntegralNumber() && bound.canConvertToInt();
        bounds.add(bound.asInt(-1));
      }
      ranges.add(List.copyOf(bounds));
    }
    if (!pairs) {
      throw new ConfigException(
          "layer_replication is %s but a list of ranges of layers is expected, such as [[0, 4], [2, 5]]"
              .formatted(node));
    }
    return ranges;
  }

  // Files of older writers have the magnitude as the weight of a layer of its own.
  @Override
  public List<String> alternativeKeys(String path, String prefix, String name) {
    var keys = new ArrayList<>(AdapterFormat.super.alternativeKeys(path, prefix, name));
    if (name.equals(Magnitude.NAME)) {
      keys.add(Layer.join(prefix, name + ".weight"));
    }
    return keys;
  }

  @Override
  public Map<String, String> keyPrefixes(Map<String, Adaptable> layers) {
    Map<String, String> prefixes = ExpertKeys.prefixes(layers);
    layers.forEach(
        (path, layer) -> {
          // the reference keeps the attention's output product in the wrapped module
          String attention = path.substring(0, Math.max(0, path.lastIndexOf('.')));
          if (layer instanceof AttentionProjection output
              && !output.packed()
              && layers.containsKey(attention)) {
            prefixes.put(path, attention + ".base_layer" + path.substring(attention.length()));
          }
        });
    return prefixes;
  }

  @Override
  public Map<String, Tensor> upToDate(Map<String, Tensor> saved, Map<String, Adaptable> layers) {
    return StackedExperts.stacked(saved, layers);
  }
}
