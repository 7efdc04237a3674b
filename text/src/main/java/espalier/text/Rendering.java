package espalier.text;

import java.util.List;

/**
 * What a chat template made of a conversation.
 *
 * @param text the text that the model reads
 * @param generated the stretches that stood inside {@code {% generation %}} blocks, in order: what
 *     the assistant says, and so what a model is trained on. Empty when the template has none.
 */
public record Rendering(String text, List<Span> generated) {

  public Rendering {
    generated = List.copyOf(generated);
  }
}
