package espalier.checkpoints.gguf;

import espalier.checkpoints.CheckpointException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.json.JsonMapper;

/**
 * The tokenizer of a GGUF file in Hugging Face's form. Read are the models {@code gpt2} (byte-level
 * BPE, with the pre-tokenizer that {@code tokenizer.ggml.pre} names) and {@code llama}
 * (SentencePiece BPE with bytes to fall back on).
 */
public final class GgufTokenizer {

  private static final JsonMapper JSON = JsonMapper.shared();

  private GgufTokenizer() {}

  /**
   * Builds {@code tokenizer.json} and {@code tokenizer_config.json} from a file's metadata.
   *
   * @throws CheckpointException naming the key, if the tokenizer is of another model or
   *     pre-tokenizer than those known, or if its parts do not fit together
   */
  public static TokenizerFiles read(GgufFile file) {
    GgufMetadata metadata = file.metadata();
    Vocabulary vocabulary = Vocabulary.read(metadata);
    Optional<String> original = original(metadata);
    if (original.isPresent()) {
      var special = SpecialTokens.read(metadata, vocabulary, TokenizerParts.Defaults.NONE);
      return new TokenizerFiles(original.get(), config(metadata, special));
    }
    TokenizerParts parts = parts(metadata, vocabulary);
    SpecialTokens special = SpecialTokens.read(metadata, vocabulary, parts.defaults());
    return new TokenizerFiles(
        JSON.writeValueAsString(json(parts, special)), config(metadata, special));
  }

  private static TokenizerParts parts(GgufMetadata metadata, Vocabulary vocabulary) {
    String model = metadata.string("tokenizer.ggml.model");
    boolean gemma = metadata.findString("general.architecture").orElse("").startsWith("gemma");
    return switch (model) {
      case "gpt2" -> ByteLevelBpe.parts(metadata, vocabulary);
      case "llama" -> SentencePieceBpe.parts(metadata, vocabulary, gemma);
      default ->
          throw metadata.refused(
              "tokenizer.ggml.model",
              "is %s, but gpt2 and llama are read; use the model's original tokenizer.json"
                  .formatted(model));
    };
  }

  private static Map<String, Object> json(TokenizerParts parts, SpecialTokens special) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("version", "1.0");
    json.put("truncation", null);
    json.put("padding", null);
    json.put("added_tokens", parts.addedTokens());
    json.put("normalizer", parts.normalizer());
    json.put("pre_tokenizer", parts.preTokenizer());
    json.put("post_processor", special.postProcessor());
    json.put("decoder", parts.decoder());
    json.put("model", parts.model());
    return json;
  }

  /** The model's own {@code tokenizer.json}, which a few files carry whole. */
  private static Optional<String> original(GgufMetadata metadata) {
    String key = "tokenizer.huggingface.json";
    return metadata
        .findString(key)
        .map(
            json -> {
              try {
                JSON.readTree(json);
                return json;
              } catch (JacksonException e) {
                throw metadata.refused(key, "is not JSON: " + e.getOriginalMessage());
              }
            });
  }

  private static Map<String, Object> config(GgufMetadata metadata, SpecialTokens special) {
    Map<String, Object> config = new LinkedHashMap<>();
    config.put("tokenizer_class", "PreTrainedTokenizerFast");
    special.addTo(config);
    config.put("clean_up_tokenization_spaces", false);
    metadata
        .findString("general.architecture")
        .map(architecture -> architecture + ".context_length")
        .filter(metadata::has)
        .ifPresent(key -> config.put("model_max_length", metadata.integer(key)));
    Object template = chatTemplate(metadata);
    if (template != null) {
      config.put("chat_template", template);
    }
    return config;
  }

  /** One template as a string, several as Hugging Face lists them; null for none. */
  private static @Nullable Object chatTemplate(GgufMetadata metadata) {
    Optional<String> plain = metadata.findString("tokenizer.chat_template");
    if (!metadata.has("tokenizer.chat_templates")) {
      return plain.orElse(null);
    }
    List<Map<String, String>> templates = new ArrayList<>();
    plain.ifPresent(text -> templates.add(named("default", text)));
    for (String name : metadata.strings("tokenizer.chat_templates")) {
      templates.add(named(name, metadata.string("tokenizer.chat_template." + name)));
    }
    return templates;
  }

  private static Map<String, String> named(String name, String template) {
    Map<String, String> entry = new LinkedHashMap<>();
    entry.put("name", name);
    entry.put("template", template);
    return entry;
  }
}
