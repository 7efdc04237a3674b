package espalier.text;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * Finds what the assistant says in a rendered conversation, by rendering it up to before and up to
 * after each of its turns.
 */
final class AssistantTurns {

  private static final int SHOWN = 40; // characters of the text in an error

  private final ChatTemplate template;
  private final Map<String, ?> variables;

  AssistantTurns(ChatTemplate template, Map<String, ?> variables) {
    this.template = template;
    this.variables = variables;
  }

  /**
   * The stretches of {@code whole}, the rendered conversation, that assistant turns added.
   *
   * @throws IllegalArgumentException when the text up to a turn is not how the text with it starts
   */
  List<Span> in(List<Message> messages, String whole) {
    List<Span> turns = new ArrayList<>();
    for (int i = 0; i < messages.size(); i++) {
      if (!messages.get(i).role().equals("assistant")) {
        continue;
      }
      String before = template.render(messages.subList(0, i), true, variables).text();
      String after =
          i == messages.size() - 1
              ? whole
              : template.render(messages.subList(0, i + 1), false, variables).text();
      check(
          before,
          after,
          "starts message %d otherwise than its generation prompt does".formatted(i));
      int end = after.length();
      if (!whole.startsWith(after)) {
        end = endBeforeClosing(before, after, whole, messages.get(i).content());
        if (end < 0) {
          check(after, whole, "rewrites message %d once the conversation goes on".formatted(i));
        }
      }
      turns.add(new Span(before.length(), end));
    }
    return turns;
  }

  /**
   * Where a turn ends whose template closes each text, as with an EOS token, so that the text up to
   * the turn is how the whole starts but for its close; -1 where that is not so.
   */
  private static int endBeforeClosing(String before, String after, String whole, String content) {
    int same = common(after, whole);
    String said = content.strip();
    // the content shows that nothing of the turn itself is written otherwise
    return whole.endsWith(after.substring(same))
            && !said.isEmpty()
            && same > before.length()
            && after.substring(before.length(), same).contains(said)
        ? same
        : -1;
  }

  private static int common(String a, String b) {
    int same = 0;
    while (same < Math.min(a.length(), b.length()) && a.charAt(same) == b.charAt(same)) {
      same++;
    }
    return same;
  }

  private static void check(String start, String text, String fault) {
    if (text.startsWith(start)) {
      return;
    }
    int same = common(start, text);
    throw new IllegalArgumentException(
        ("the chat template %s: at character %d, \"%s\" becomes \"%s\". So what the assistant says"
                + " cannot be told from the rest; give a chat template that marks it with {%%"
                + " generation %%}, or train on all tokens")
            .formatted(fault, same, excerpt(start, same), excerpt(text, same)));
  }

  private static String excerpt(String text, int from) {
    int end = Math.min(text.length(), from + SHOWN);
    return text.substring(from, end).replace("\n", "\\n") + (end < text.length() ? "..." : "");
  }
}
