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
  private final String eos;

  /**
   * Makes a finder.
   *
   * @param eos the EOS token's text; empty where there is none
   */
  AssistantTurns(ChatTemplate template, Map<String, ?> variables, String eos) {
    this.template = template;
    this.eos = eos;
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
      after = unclosed(after, whole);
      check(after, whole, "rewrites message %d once the conversation goes on".formatted(i));
      turns.add(new Span(before.length(), after.length()));
    }
    return turns;
  }

  /**
   * The text up to a turn less the EOS token, where the template closes every text with one: so
   * does the whole, but not after this turn.
   */
  private String unclosed(String text, String whole) {
    return !whole.startsWith(text)
            && !eos.isEmpty()
            && text.endsWith(eos)
            && whole.endsWith(eos)
            && whole.startsWith(text.substring(0, text.length() - eos.length()))
        ? text.substring(0, text.length() - eos.length())
        : text;
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
