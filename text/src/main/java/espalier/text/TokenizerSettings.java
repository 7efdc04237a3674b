package espalier.text;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/**
 * What surrounds the vocabulary: special tokens, chat templates and limits, as {@code
 * tokenizer_config.json} or a GGUF header say them.
 *
 * @param bosToken text of the token that starts a text, if there is one
 * @param eosToken text of the token that ends one
 * @param padToken text of the token that fills up rows of a batch
 * @param unkToken text of the token for what the vocabulary lacks
 * @param chatTemplate source of the chat template that is used by default
 * @param addBos whether encoding with special tokens must start with the BOS token; it is put there
 *     when {@code tokenizer.json} does not do so itself. False leaves that to {@code
 *     tokenizer.json}.
 * @param modelMaxLength tokens that the model can read; {@link Integer#MAX_VALUE} when not said.
 *     Encoding never cuts: this is information for the caller.
 * @param stopIds ids that end a generation besides the EOS token
 * @param namedTemplates further chat templates by name, such as {@code tool_use} or {@code rag}
 * @param other fields of {@code tokenizer_config.json} that Espalier does not read, kept so that
 *     saving loses nothing
 */
public record TokenizerSettings(
    @Nullable String bosToken,
    @Nullable String eosToken,
    @Nullable String padToken,
    @Nullable String unkToken,
    @Nullable String chatTemplate,
    boolean addBos,
    int modelMaxLength,
    Set<Integer> stopIds,
    Map<String, String> namedTemplates,
    Map<String, Object> other) {

  public TokenizerSettings {
    if (modelMaxLength < 1) {
      throw new IllegalArgumentException(
          "modelMaxLength is %d but must be 1 or more; Integer.MAX_VALUE means no limit is known"
              .formatted(modelMaxLength));
    }
    if (addBos && bosToken == null) {
      throw new IllegalArgumentException(
          "addBos is true but there is no bosToken; name the token or set addBos to false");
    }
    for (String name : namedTemplates.keySet()) {
      if (!name.matches("[\\w-]+")) {
        throw new IllegalArgumentException(
            "the chat template is named %s but a name has letters, digits, _ and - only, as it"
                    .formatted(name)
                + " becomes a file's");
      }
    }
    stopIds = Set.copyOf(stopIds);
    namedTemplates = Collections.unmodifiableMap(new LinkedHashMap<>(namedTemplates));
    other = Collections.unmodifiableMap(new LinkedHashMap<>(other)); // may hold nulls
  }

  /** No special tokens, no template, no limit. */
  public static TokenizerSettings defaults() {
    return new TokenizerSettings(
        null, null, null, null, null, false, Integer.MAX_VALUE, Set.of(), Map.of(), Map.of());
  }

  /**
   * What the content of a {@code tokenizer_config.json} says.
   *
   * @param config as JSON's types in Java; tokens are strings, or objects whose content is one
   */
  public static TokenizerSettings of(Map<String, Object> config) {
    return TokenizerFiles.settings(config);
  }

  public TokenizerSettings withBosToken(@Nullable String token) {
    return new TokenizerSettings(
        token,
        eosToken,
        padToken,
        unkToken,
        chatTemplate,
        addBos && token != null,
        modelMaxLength,
        stopIds,
        namedTemplates,
        other);
  }

  public TokenizerSettings withEosToken(@Nullable String token) {
    return new TokenizerSettings(
        bosToken,
        token,
        padToken,
        unkToken,
        chatTemplate,
        addBos,
        modelMaxLength,
        stopIds,
        namedTemplates,
        other);
  }

  public TokenizerSettings withPadToken(@Nullable String token) {
    return new TokenizerSettings(
        bosToken,
        eosToken,
        token,
        unkToken,
        chatTemplate,
        addBos,
        modelMaxLength,
        stopIds,
        namedTemplates,
        other);
  }

  public TokenizerSettings withUnkToken(@Nullable String token) {
    return new TokenizerSettings(
        bosToken,
        eosToken,
        padToken,
        token,
        chatTemplate,
        addBos,
        modelMaxLength,
        stopIds,
        namedTemplates,
        other);
  }

  public TokenizerSettings withChatTemplate(@Nullable String source) {
    return new TokenizerSettings(
        bosToken,
        eosToken,
        padToken,
        unkToken,
        source,
        addBos,
        modelMaxLength,
        stopIds,
        namedTemplates,
        other);
  }

  public TokenizerSettings withAddBos(boolean add) {
    return new TokenizerSettings(
        bosToken,
        eosToken,
        padToken,
        unkToken,
        chatTemplate,
        add,
        modelMaxLength,
        stopIds,
        namedTemplates,
        other);
  }

  public TokenizerSettings withModelMaxLength(int tokens) {
    return new TokenizerSettings(
        bosToken,
        eosToken,
        padToken,
        unkToken,
        chatTemplate,
        addBos,
        tokens,
        stopIds,
        namedTemplates,
        other);
  }

  public TokenizerSettings withStopIds(Set<Integer> ids) {
    return new TokenizerSettings(
        bosToken,
        eosToken,
        padToken,
        unkToken,
        chatTemplate,
        addBos,
        modelMaxLength,
        ids,
        namedTemplates,
        other);
  }
}
