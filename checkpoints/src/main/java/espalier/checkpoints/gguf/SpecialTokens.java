package espalier.checkpoints.gguf;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The tokens that stand for something else than text.
 *
 * @param bos begins a text
 * @param eos ends one
 * @param unk stands for what the vocabulary lacks
 * @param pad fills up the rows of a batch
 * @param addBos whether an encoded text begins with {@code bos}
 * @param addEos whether it ends with {@code eos}
 */
record SpecialTokens(
    @Nullable Token bos,
    @Nullable Token eos,
    @Nullable Token unk,
    @Nullable Token pad,
    boolean addBos,
    boolean addEos) {

  private static final String ADD_BOS = "tokenizer.ggml.add_bos_token";
  private static final String ADD_EOS = "tokenizer.ggml.add_eos_token";

  /** A token with its id. */
  record Token(long id, String text) {}

  static SpecialTokens read(
      GgufMetadata metadata, Vocabulary vocabulary, TokenizerParts.Defaults defaults) {
    Token bos = token(vocabulary, id(metadata, vocabulary, "bos", defaults.bos()));
    Token eos = token(vocabulary, id(metadata, vocabulary, "eos", defaults.eos()));
    // A default is for files that do not name the token; without one there is nothing to add.
    boolean addBos = metadata.flag(ADD_BOS, defaults.addBos() && bos != null);
    boolean addEos = metadata.flag(ADD_EOS, false);
    if (addBos && bos == null) {
      throw metadata.refused(ADD_BOS, "is true, but no bos_token_id is given; convert it again");
    }
    if (addEos && eos == null) {
      throw metadata.refused(ADD_EOS, "is true, but no eos_token_id is given; convert it again");
    }
    return new SpecialTokens(
        bos,
        eos,
        token(vocabulary, id(metadata, vocabulary, "unknown", defaults.unk())),
        token(vocabulary, id(metadata, vocabulary, "padding", null)),
        addBos,
        addEos);
  }

  /** The id of a special token, or {@code absent} where the file names none. */
  static @Nullable Long id(
      GgufMetadata metadata, Vocabulary vocabulary, String name, @Nullable Long absent) {
    String key = "tokenizer.ggml." + name + "_token_id";
    if (!metadata.has(key)) {
      return absent;
    }
    long id = metadata.integer(key);
    if (id < 0 || id >= vocabulary.size()) {
      throw metadata.refused(
          key,
          "is %d, but the vocabulary has %d tokens; convert the model again"
              .formatted(id, vocabulary.size()));
    }
    return id;
  }

  /** Puts them as {@code tokenizer_config.json} has them. */
  void addTo(Map<String, Object> config) {
    put(config, "bos_token", bos);
    put(config, "eos_token", eos);
    put(config, "unk_token", unk);
    put(config, "pad_token", pad);
    config.put("add_bos_token", addBos);
    config.put("add_eos_token", addEos);
  }

  /** What puts the tokens around a text; null if none is put. */
  @Nullable Map<String, Object> postProcessor() {
    Token first = addBos ? bos : null;
    Token last = addEos ? eos : null;
    if (first == null && last == null) {
      return null;
    }
    List<Object> single = around(first, last, "A", 0);
    List<Object> pair = new ArrayList<>(single);
    pair.addAll(around(first, last, "B", 1));
    Map<String, Object> tokens = new LinkedHashMap<>();
    describe(tokens, first);
    describe(tokens, last);
    return Json.typed(
        "TemplateProcessing", "single", single, "pair", pair, "special_tokens", tokens);
  }

  private static List<Object> around(
      @Nullable Token first, @Nullable Token last, String text, int typeId) {
    List<Object> template = new ArrayList<>();
    if (first != null) {
      template.add(piece("SpecialToken", first.text, typeId));
    }
    template.add(piece("Sequence", text, typeId));
    if (last != null) {
      template.add(piece("SpecialToken", last.text, typeId));
    }
    return template;
  }

  private static Map<String, Object> piece(String kind, String id, int typeId) {
    Map<String, Object> piece = new LinkedHashMap<>();
    piece.put("id", id);
    piece.put("type_id", typeId);
    return Collections.singletonMap(kind, piece);
  }

  private static void describe(Map<String, Object> tokens, @Nullable Token token) {
    if (token != null) {
      Map<String, Object> description = new LinkedHashMap<>();
      description.put("id", token.text);
      description.put("ids", List.of(token.id));
      description.put("tokens", List.of(token.text));
      tokens.put(token.text, description);
    }
  }

  private static void put(Map<String, Object> config, String name, @Nullable Token token) {
    if (token != null) {
      config.put(name, token.text);
    }
  }

  private static @Nullable Token token(Vocabulary vocabulary, @Nullable Long id) {
    return id == null ? null : new Token(id, vocabulary.tokens().get(id.intValue()));
  }
}
