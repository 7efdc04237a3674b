package espalier.training;

import java.util.Arrays;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/** What a row of training data holds. */
public enum DataFormat {

  /** A conversation: {@code messages}, or {@code conversations} of from-value pairs. */
  MESSAGES("messages"),

  /**
   * A prompt and its completion: {@code prompt} or {@code instruction} (with an {@code input}), and
   * {@code completion}, {@code output} or {@code response}.
   */
  PROMPT_COMPLETION("prompt-completion"),

  /** Plain {@code text}. */
  TEXT("text"),

  /** Token ids: {@code input_ids} or {@code tokens}, perhaps with {@code labels}. */
  TOKENS("tokens");

  /** The columns that some format reads; all others are left alone. */
  static final Set<String> COLUMNS =
      Set.of(
          "messages",
          "conversations",
          "system",
          "tools",
          "prompt",
          "instruction",
          "input",
          "completion",
          "output",
          "response",
          "text",
          "input_ids",
          "tokens",
          "labels",
          "attention_mask");

  static final String EXPECTED =
      "messages; or conversations; or prompt and completion; or instruction and output;"
          + " or input_ids; or text";

  private final String recipeName;

  DataFormat(String recipeName) {
    this.recipeName = recipeName;
  }

  /** The name as recipes write it. */
  public String recipeName() {
    return recipeName;
  }

  /**
   * The format of this name.
   *
   * @throws IllegalArgumentException if there is none
   */
  public static DataFormat of(String recipeName) {
    return Arrays.stream(values())
        .filter(format -> format.recipeName.equals(recipeName))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "format is %s but the known ones are %s; leave it out to have it found"
                        .formatted(
                            recipeName,
                            Arrays.stream(values())
                                .map(DataFormat::recipeName)
                                .collect(Collectors.joining(", ")))));
  }

  /**
   * The format that data with these columns has. Where they allow several, as {@code messages}
   * beside the {@code text} made from them, the one that says most about the data is taken.
   */
  static Optional<DataFormat> found(Set<String> columns) {
    if (columns.contains("messages") || columns.contains("conversations")) {
      return Optional.of(MESSAGES);
    }
    boolean prompt = columns.contains("prompt") || columns.contains("instruction");
    boolean completion =
        columns.contains("completion")
            || columns.contains("output")
            || columns.contains("response");
    if (prompt && completion) {
      return Optional.of(PROMPT_COMPLETION);
    }
    if (columns.contains("input_ids") || columns.contains("tokens")) {
      return Optional.of(TOKENS);
    }
    return columns.contains("text") ? Optional.of(TEXT) : Optional.empty();
  }
}
