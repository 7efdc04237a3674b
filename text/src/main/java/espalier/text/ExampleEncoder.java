package espalier.text;

import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

/**
 * Turns rows of training data into {@link Example}s: what is learned gets a label.
 *
 * <p>In a conversation that is what the assistant says, its end-of-turn token included. Where the
 * chat template marks it with {@code {% generation %}} blocks, the marks are followed. Elsewhere it
 * is what each assistant turn adds to the text: the difference between the conversation up to the
 * turn, ending with the generation prompt, and the conversation with the turn. A token that lies
 * across the border of what is learned is learned.
 *
 * <p>Nothing is cut: rows longer than the model reads are the caller's to drop or shorten. May be
 * used by several threads at once.
 */
public final class ExampleEncoder {

  private final Tokenizer tokenizer;
  private final boolean trainOnAll;

  /**
   * Makes an encoder.
   *
   * @param trainOnAll whether prompts and the turns of the others are learned too
   */
  public ExampleEncoder(Tokenizer tokenizer, boolean trainOnAll) {
    this.tokenizer = tokenizer;
    this.trainOnAll = trainOnAll;
  }

  /**
   * Encodes a conversation.
   *
   * <p>One without an assistant turn gives an example with {@link Example#labelled()} 0.
   *
   * @throws IllegalArgumentException when there are no messages, when the tokenizer has no chat
   *     template, and when the template writes earlier turns differently once the conversation goes
   *     on, so that the assistant's part cannot be told
   * @throws TemplateException when the template refuses the conversation
   */
  public Example messages(List<Message> messages) {
    return messages(messages, Map.of());
  }

  /**
   * Encodes a conversation.
   *
   * @param variables what the template may read besides, such as {@code tools}
   * @throws IllegalArgumentException as {@link #messages(List)}
   */
  public Example messages(List<Message> messages, Map<String, ?> variables) {
    if (messages.isEmpty()) {
      throw new IllegalArgumentException(
          "a row has no messages but at least one is expected, such as"
              + " {\"role\": \"user\", \"content\": \"Hi\"}; drop the row or fill it");
    }
    ChatTemplate template =
        tokenizer
            .chatTemplateFor(variables)
            .orElseThrow(
                () ->
                    new IllegalArgumentException(
                        "the tokenizer has no chat template but messages need one; give one with"
                            + " TokenizerSettings.withChatTemplate, or train on prompts and"
                            + " completions"));
    Rendering whole = template.render(messages, false, variables);
    // the template writes the BOS token where there is to be one
    Encoding encoding = tokenizer.encodeWithOffsets(whole.text(), false);
    if (trainOnAll) {
      return new Example(encoding.ids(), encoding.ids());
    }
    String eos = tokenizer.settings().eosToken();
    List<Span> learned =
        template.marksGenerated()
            ? whole.generated()
            : new AssistantTurns(template, variables, eos == null ? "" : eos)
                .in(messages, whole.text());
    return new Example(encoding.ids(), Labels.of(encoding, learned));
  }

  /**
   * Encodes a prompt with the completion that is learned. They are encoded as one text; then the
   * EOS token is added, where the tokenizer has one and the completion does not end with it.
   */
  public Example promptCompletion(String prompt, String completion) {
    String text = prompt + completion;
    Encoding encoding = tokenizer.encodeWithOffsets(text, addsSpecialTokens(text));
    int[] ids = encoding.ids();
    int[] labels =
        trainOnAll ? ids : Labels.of(encoding, List.of(new Span(prompt.length(), text.length())));
    OptionalInt eos = tokenizer.eosId();
    if (eos.isEmpty()) {
      return new Example(ids, labels);
    }
    if (ids.length > 0 && ids[ids.length - 1] == eos.getAsInt()) {
      labels = labels.clone();
      labels[ids.length - 1] = eos.getAsInt(); // tokenizer.json may have put it there
      return new Example(ids, labels);
    }
    return new Example(with(ids, eos.getAsInt()), with(labels, eos.getAsInt()));
  }

  /**
   * Encodes a text that is learned as a whole, with the special tokens that the tokenizer puts
   * around a text. No EOS token is added, as a text may be a piece of a longer one; where it should
   * be learned, write it at the text's end.
   */
  public Example text(String text) {
    int[] ids = tokenizer.encode(text, addsSpecialTokens(text));
    return new Example(ids, ids);
  }

  /**
   * Takes ids as they are; all are learned.
   *
   * @throws IllegalArgumentException for an id that is not in the vocabulary
   */
  public Example tokens(int[] ids) {
    for (int i = 0; i < ids.length; i++) {
      if (ids[i] < 0 || ids[i] >= tokenizer.vocabularySize()) {
        throw new IllegalArgumentException(
            "token %d at position %d is not in the vocabulary, whose ids go from 0 to %d;"
                    .formatted(ids[i], i, tokenizer.vocabularySize() - 1)
                + " encode the row with this model's tokenizer");
      }
    }
    return new Example(ids, ids);
  }

  /** A text that starts with the BOS token, as rendered chats do, must not get a second one. */
  private boolean addsSpecialTokens(String text) {
    String bos = tokenizer.settings().bosToken();
    return bos == null || bos.isEmpty() || !text.startsWith(bos);
  }

  private static int[] with(int[] values, int last) {
    int[] more = Arrays.copyOf(values, values.length + 1);
    more[values.length] = last;
    return more;
  }
}
