package espalier.text;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.math.BigInteger;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.SerializationFeature;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.MissingNode;

/** The files of a tokenizer in a checkpoint's folder, as transformers lays them out. */
final class TokenizerFiles {

  private static final String TOKENIZER = "tokenizer.json";
  private static final String CONFIG = "tokenizer_config.json";
  private static final String TEMPLATE = "chat_template.jinja";
  private static final String MORE_TEMPLATES = "additional_chat_templates";
  private static final String SUFFIX = ".jinja";

  /** What transformers writes where no limit is known: int(1e30). */
  private static final BigInteger NO_LIMIT = new BigInteger("1000000000000000019884624838656");

  private static final Set<String> READ =
      Set.of(
          "bos_token",
          "eos_token",
          "pad_token",
          "unk_token",
          "chat_template",
          "add_bos_token",
          "model_max_length");

  private static final JsonMapper JSON =
      JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build();

  private TokenizerFiles() {}

  static Tokenizer load(Path folder) {
    Path file = folder.resolve(TOKENIZER);
    if (!Files.isRegularFile(file)) {
      throw new IllegalArgumentException(
          "%s is not there but a tokenizer is read from it; name a folder that has a tokenizer.json,"
                  .formatted(file)
              + " such as a checkpoint that transformers saved");
    }
    String json = text(file);
    TokenizerSettings settings = settings(folder);
    try {
      return Tokenizer.of(json, settings);
    } catch (IllegalArgumentException e) {
      throw new FileContentsException("%s: %s".formatted(file, e.getMessage()), e);
    }
  }

  private static TokenizerSettings settings(Path folder) {
    JsonNode config = json(folder.resolve(CONFIG));
    Map<String, String> templates = templates(config);
    addTemplates(folder, templates);
    return settings(
        config,
        json(folder.resolve("special_tokens_map.json")),
        templates,
        stopIds(json(folder.resolve("generation_config.json"))));
  }

  /** What a {@code tokenizer_config.json} says by itself. */
  static TokenizerSettings settings(Map<String, Object> config) {
    JsonNode node = JSON.valueToTree(config);
    return settings(node, MissingNode.getInstance(), templates(node), Set.of());
  }

  private static TokenizerSettings settings(
      JsonNode config, JsonNode specials, Map<String, String> templates, Set<Integer> stopIds) {
    String template = templates.remove("default");
    String bos = token("bos_token", config, specials);
    return new TokenizerSettings(
        bos,
        token("eos_token", config, specials),
        token("pad_token", config, specials),
        token("unk_token", config, specials),
        template,
        bos != null && config.path("add_bos_token").asBoolean(false),
        maxLength(config.path("model_max_length")),
        stopIds,
        templates,
        other(config));
  }

  /** A token is written as a string, or as an object whose content is the string. */
  private static @Nullable String token(String name, JsonNode config, JsonNode specials) {
    for (JsonNode source : new JsonNode[] {config, specials}) {
      JsonNode token = source.path(name);
      JsonNode text = token.isObject() ? token.path("content") : token;
      if (text.isString()) {
        return text.stringValue();
      }
    }
    return null;
  }

  private static int maxLength(JsonNode length) {
    return length.isNumber() && length.doubleValue() >= 1 && length.doubleValue() < 1e9
        ? (int) length.doubleValue()
        : Integer.MAX_VALUE;
  }

  private static Set<Integer> stopIds(JsonNode generation) {
    JsonNode eos = generation.path("eos_token_id");
    Set<Integer> ids = new LinkedHashSet<>();
    if (eos.isInt()) {
      ids.add(eos.intValue());
    }
    if (eos.isArray()) {
      eos.forEach(id -> ids.add(id.asInt()));
    }
    return ids;
  }

  /** All chat templates by name; the one that is used unless another is named is "default". */
  private static Map<String, String> templates(JsonNode config) {
    Map<String, String> templates = new LinkedHashMap<>();
    JsonNode inConfig = config.path("chat_template");
    if (inConfig.isString()) {
      templates.put("default", inConfig.stringValue());
    } else if (inConfig.isArray()) {
      for (JsonNode named : inConfig) {
        templates.put(named.path("name").asString(), named.path("template").asString());
      }
    }
    return templates;
  }

  /** Adds those that lie in files of their own; they win over the config, as in transformers. */
  private static void addTemplates(Path folder, Map<String, String> templates) {
    JsonNode older = json(folder.resolve("chat_template.json")).path("chat_template");
    if (older.isString()) {
      templates.put("default", older.stringValue());
    }
    if (Files.isRegularFile(folder.resolve(TEMPLATE))) {
      templates.put("default", text(folder.resolve(TEMPLATE)));
    }
    Path more = folder.resolve(MORE_TEMPLATES);
    if (Files.isDirectory(more)) {
      try (DirectoryStream<Path> files = Files.newDirectoryStream(more, "*" + SUFFIX)) {
        for (Path file : files) {
          String name = String.valueOf(file.getFileName());
          templates.put(name.substring(0, name.length() - SUFFIX.length()), text(file));
        }
      } catch (IOException e) {
        throw new UncheckedIOException("%s could not be listed".formatted(more), e);
      }
    }
  }

  private static Map<String, Object> other(JsonNode config) {
    Map<String, Object> fields =
        config.isObject()
            ? JSON.convertValue(config, new TypeReference<LinkedHashMap<String, Object>>() {})
            : new LinkedHashMap<>();
    fields.keySet().removeAll(READ);
    return fields;
  }

  static void save(Path folder, byte[] tokenizerJson, TokenizerSettings settings) {
    write(folder.resolve(TOKENIZER), tokenizerJson);
    Map<String, Object> config = new LinkedHashMap<>(settings.other());
    config.putIfAbsent("tokenizer_class", "PreTrainedTokenizerFast");
    putToken(config, "bos_token", settings.bosToken());
    putToken(config, "eos_token", settings.eosToken());
    putToken(config, "pad_token", settings.padToken());
    putToken(config, "unk_token", settings.unkToken());
    if (settings.addBos()) {
      config.put("add_bos_token", true);
    }
    int limit = settings.modelMaxLength();
    config.put("model_max_length", limit == Integer.MAX_VALUE ? NO_LIMIT : limit);
    write(folder.resolve(CONFIG), (JSON.writeValueAsString(config) + "\n").getBytes(UTF_8));
    if (settings.chatTemplate() != null) {
      write(folder.resolve(TEMPLATE), settings.chatTemplate().getBytes(UTF_8));
    }
    settings
        .namedTemplates()
        .forEach(
            (name, source) ->
                write(
                    folder.resolve(MORE_TEMPLATES).resolve(name + SUFFIX), source.getBytes(UTF_8)));
  }

  private static void write(Path file, byte[] content) {
    try {
      Files.createDirectories(file.resolveSibling("."));
      WholeFile.write(file, content);
    } catch (IOException e) {
      throw new UncheckedIOException("%s could not be written".formatted(file), e);
    }
  }

  private static void putToken(Map<String, Object> config, String name, @Nullable String token) {
    if (token != null) {
      config.put(name, token);
    }
  }

  private static JsonNode json(Path file) {
    if (!Files.isRegularFile(file)) {
      return MissingNode.getInstance();
    }
    try {
      return JSON.readTree(text(file));
    } catch (JacksonException e) {
      throw new FileContentsException(
          "%s is not JSON (%s); mend it or take it away".formatted(file, e.getOriginalMessage()),
          e);
    }
  }

  private static String text(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw new UncheckedIOException("%s could not be read as UTF-8".formatted(file), e);
    }
  }
}
