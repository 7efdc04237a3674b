package espalier.text;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * Text to token ids and back, as the tokenizer of a checkpoint does it.
 *
 * <p>The work is done by the Rust library that the Python reference uses too, so ids are the same.
 * Nothing is ever cut or padded. A tokenizer may be used by several threads at once; it holds
 * native memory until it is closed, and says so with an {@link IllegalStateException} afterwards.
 * What the native library refuses becomes an {@link IllegalArgumentException} that carries its
 * words.
 *
 * <p>The library ends the process where one of its own assertions fails. Texts and files known to
 * make it do so are refused with an {@link IllegalArgumentException} before; still, load tokenizers
 * from where you would load a program.
 */
public final class Tokenizer implements AutoCloseable {

  private final byte[] json; // UTF-8, half the size of a string with letters beyond Latin 1
  private final TokenizerSettings settings;
  private final Vocabulary vocabulary;
  private final Set<Integer> stopIds;
  private final NativeTokenizer tokenizer;
  private volatile @Nullable ChatTemplate chatTemplate; // parsed when first asked for

  private Tokenizer(String json, TokenizerSettings settings) {
    this.json = json.getBytes(StandardCharsets.UTF_8);
    this.settings = settings;
    vocabulary = VocabularyReader.read(json);
    if (settings.addBos() && vocabulary.id(settings.bosToken()).isEmpty()) {
      throw new IllegalArgumentException(
          "bosToken %s is not in the vocabulary but addBos asks for it; name a token that is there or"
                  .formatted(settings.bosToken())
              + " set addBos to false");
    }
    Set<Integer> stops = new LinkedHashSet<>(settings.stopIds());
    vocabulary.id(settings.eosToken()).ifPresent(stops::add);
    stopIds = Collections.unmodifiableSet(stops);
    tokenizer =
        new NativeTokenizer(json); // last, so that nothing is left behind when a check fails
  }

  /**
   * Reads the tokenizer of a checkpoint's folder.
   *
   * <p>Reads {@code tokenizer.json} and, where they exist, {@code tokenizer_config.json}, {@code
   * special_tokens_map.json}, {@code chat_template.jinja} or {@code chat_template.json}, {@code
   * additional_chat_templates/} and the end-of-text ids of {@code generation_config.json}.
   *
   * @throws IllegalArgumentException when a file is missing or not what it should be; names the
   *     file
   * @throws java.io.UncheckedIOException when a file cannot be read
   */
  public static Tokenizer load(Path folder) {
    return TokenizerFiles.load(folder);
  }

  /**
   * Makes a tokenizer from the text of a {@code tokenizer.json}, for formats that carry their own,
   * such as GGUF.
   *
   * @throws IllegalArgumentException when it is not a tokenizer, or the settings do not fit it
   */
  public static Tokenizer of(String tokenizerJson, TokenizerSettings settings) {
    return new Tokenizer(tokenizerJson, settings);
  }

  /**
   * The ids of a text. An unpaired surrogate is read as U+FFFD.
   *
   * @param addSpecialTokens whether to add what the tokenizer puts around a text, usually a BOS
   *     token; false for what a chat template rendered, which has it already
   */
  public int[] encode(String text, boolean addSpecialTokens) {
    return withBos(tokenizer.encode(text, addSpecialTokens), addSpecialTokens);
  }

  /** The ids of each text, encoded on all cores. */
  public List<int[]> encodeAll(List<String> texts, boolean addSpecialTokens) {
    List<int[]> all = new ArrayList<>(texts.size());
    for (int[] ids : tokenizer.encodeAll(texts, addSpecialTokens)) {
      all.add(withBos(ids, addSpecialTokens));
    }
    return all;
  }

  /**
   * The ids of a text and the place that each came from, in UTF-16 units of {@code text}.
   *
   * <p>Some tokenizers leave the space before a word out of its token's place.
   */
  public Encoding encodeWithOffsets(String text, boolean addSpecialTokens) {
    Encoding encoding = tokenizer.encodeWithOffsets(text, addSpecialTokens);
    int[] ids = withBos(encoding.ids(), addSpecialTokens);
    return ids.length == encoding.length()
        ? encoding
        : new Encoding(ids, withZero(encoding.starts()), withZero(encoding.ends()));
  }

  /**
   * The text of ids. Bytes that are not UTF-8 become U+FFFD; ids beyond the vocabulary (embeddings
   * often have more rows) give nothing.
   *
   * @throws IllegalArgumentException for a negative id
   */
  public String decode(int[] ids, boolean skipSpecialTokens) {
    return tokenizer.decode(ids, skipSpecialTokens);
  }

  /** Decodes tokens as they come, from the start of a text; leaves special tokens out. */
  public StreamDecoder streamDecoder() {
    return streamDecoder(new int[0]);
  }

  /**
   * Decodes tokens as they come after {@code context}, usually the prompt.
   *
   * <p>Sentencepiece tokenizers drop the space of the first word of a text; with the context they
   * know that it is not the first.
   */
  public StreamDecoder streamDecoder(int[] context) {
    return new StreamDecoder(this, context);
  }

  /** One more than the largest id: the least rows that an embedding must have. */
  public int vocabularySize() {
    return vocabulary.size();
  }

  public OptionalInt bosId() {
    return vocabulary.id(settings.bosToken());
  }

  public OptionalInt eosId() {
    return vocabulary.id(settings.eosToken());
  }

  public OptionalInt padId() {
    return vocabulary.id(settings.padToken());
  }

  public OptionalInt unkId() {
    return vocabulary.id(settings.unkToken());
  }

  /**
   * The same tokenizer with further tokens, which get the ids after the largest one; tokens that it
   * has are passed over. It is another object: this one stays open.
   *
   * @param tokens their texts
   * @param special whether {@code skipSpecialTokens} leaves them out
   */
  public Tokenizer withTokens(Collection<String> tokens, boolean special) {
    return new Tokenizer(
        AddedTokens.in(new String(json, StandardCharsets.UTF_8), vocabulary, tokens, special),
        settings);
  }

  /** The ids that end a generation: the EOS token and those the checkpoint names beside it. */
  public Set<Integer> stopIds() {
    return stopIds;
  }

  /** The id of a token, written as the vocabulary writes it: {@code Ġthe}, {@code <|im_end|>}. */
  public OptionalInt id(String token) {
    return vocabulary.id(token);
  }

  /**
   * The token of an id, written as the vocabulary writes it.
   *
   * @throws IllegalArgumentException when no token has the id
   */
  public String token(int id) {
    return vocabulary.token(id);
  }

  /** Whether the token is a special one, which {@code skipSpecialTokens} leaves out. */
  public boolean isSpecial(int id) {
    return vocabulary.isSpecial(id);
  }

  /**
   * The chat template that is used by default; it knows this tokenizer's special tokens.
   *
   * @throws TemplateException when it cannot be parsed. Only then, so that a checkpoint with a
   *     broken template still encodes plain text.
   */
  public Optional<ChatTemplate> chatTemplate() {
    ChatTemplate parsed = chatTemplate;
    if (parsed == null && settings.chatTemplate() != null) {
      parsed = template(settings.chatTemplate());
      chatTemplate = parsed;
    }
    return Optional.ofNullable(parsed);
  }

  /**
   * The chat template of a name, such as {@code tool_use}; it knows the special tokens.
   *
   * @throws TemplateException when it cannot be parsed
   */
  public Optional<ChatTemplate> chatTemplate(String name) {
    return Optional.ofNullable(settings.namedTemplates().get(name)).map(this::template);
  }

  /**
   * The chat template for a conversation with these variables: the one named {@code tool_use} where
   * there are {@code tools} and the checkpoint has one for them, else the one used by default.
   *
   * @throws TemplateException when it cannot be parsed
   */
  public Optional<ChatTemplate> chatTemplateFor(Map<String, ?> variables) {
    Optional<ChatTemplate> forTools =
        variables.get("tools") == null ? Optional.empty() : chatTemplate("tool_use");
    return forTools.or(this::chatTemplate);
  }

  public TokenizerSettings settings() {
    return settings;
  }

  /**
   * Writes {@code tokenizer.json}, {@code tokenizer_config.json} and, where there is one, {@code
   * chat_template.jinja}, so that transformers loads the folder. Each file is written whole or not
   * at all. Ids that end a generation are not part of these files.
   *
   * @throws java.io.UncheckedIOException when a file cannot be written
   */
  public void save(Path folder) {
    TokenizerFiles.save(folder, json, settings);
  }

  /** Frees the native memory; a second call does nothing. */
  @Override
  public void close() {
    tokenizer.close();
  }

  private ChatTemplate template(String source) {
    Map<String, Object> known = new LinkedHashMap<>();
    settings.other().forEach((name, value) -> putNamed(known, name, value));
    for (String group : List.of("extra_special_tokens", "model_specific_special_tokens")) {
      if (settings.other().get(group) instanceof Map<?, ?> more) {
        more.forEach((name, value) -> putNamed(known, String.valueOf(name), value));
      }
    }
    putIfThere(known, "bos_token", settings.bosToken());
    putIfThere(known, "eos_token", settings.eosToken());
    putIfThere(known, "pad_token", settings.padToken());
    putIfThere(known, "unk_token", settings.unkToken());
    return ChatTemplate.parse(source).withVariables(known);
  }

  /** A token of its own name, such as image_token; a string, or an object that holds it. */
  private static void putNamed(Map<String, Object> known, String name, @Nullable Object value) {
    Object text = value instanceof Map<?, ?> token ? token.get("content") : value;
    if (name.endsWith("_token") && text instanceof String token) {
      known.put(name, token);
    }
  }

  private static void putIfThere(Map<String, Object> known, String name, @Nullable String token) {
    if (token != null) {
      known.put(name, token);
    }
  }

  /** Puts the BOS token in front where the settings ask for it and tokenizer.json has not. */
  private int[] withBos(int[] ids, boolean addSpecialTokens) {
    if (!addSpecialTokens || !settings.addBos()) {
      return ids;
    }
    int bos = bosId().orElseThrow();
    if (ids.length > 0 && ids[0] == bos) {
      return ids;
    }
    int[] more = withZero(ids);
    more[0] = bos;
    return more;
  }

  private static int[] withZero(int[] values) {
    int[] more = new int[values.length + 1];
    System.arraycopy(values, 0, more, 1, values.length);
    return more;
  }
}
