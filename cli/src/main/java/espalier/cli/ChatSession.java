package espalier.cli;

import espalier.serving.Conversation;
import espalier.serving.Sampling;
import java.io.IOException;

/** One conversation: lines in, answers and the few commands that begin with a slash. */
final class ChatSession {

  private static final String HELP =
      """
      /adapters               who can answer; the star is at who does
      /adapter NAME           let another adapter answer; base for none
      /adapter FOLDER         load an adapter under its folder's name, and let it answer;
                          hub:org/name[/sub/folder][@revision] is fetched
      /adapter NAME=FOLDER    the same under another name; an adapter of that name is exchanged
      /reset                  forget what was said
      /quit                   end (Ctrl-D too)\
      """;

  private final Conversation talk;
  private final Sampling sampling;
  private final ChatAdapters adapters;
  private final Output output;

  ChatSession(Conversation talk, Sampling sampling, ChatAdapters adapters, Output output) {
    this.talk = talk;
    this.sampling = sampling;
    this.adapters = adapters;
    this.output = output;
  }

  /** Talks until the lines end or one says so. */
  void run(LineSource lines) throws IOException {
    output.note("/help tells what can be typed besides what is said");
    String line = lines.next();
    while (line != null && !line.strip().equals("/quit")) {
      if (line.strip().startsWith("/")) {
        command(line.strip());
      } else if (!line.isBlank()) {
        say(line.strip());
      }
      line = lines.next();
    }
  }

  private void say(String text) {
    try {
      talk.say(text, sampling, (_, _, piece) -> output.piece(piece));
      output.line("");
    } catch (RuntimeException e) {
      // A conversation that has become too long, or any other answer that fails, does not end it.
      failed(e);
    }
  }

  private void command(String line) {
    String[] words = line.split("\\s+", 2);
    switch (words[0]) {
      case "/help" -> output.note(HELP);
      case "/reset" -> {
        talk.reset();
        output.note("forgotten");
      }
      case "/adapters" -> adapters.list();
      case "/adapter" -> adapter(words.length < 2 ? "" : words[1].strip());
      default -> output.note("there is no %s; /help lists what there is".formatted(words[0]));
    }
  }

  private void adapter(String word) {
    try {
      adapters.choose(word);
    } catch (RuntimeException e) {
      failed(e); // the one that answered before goes on
    }
  }

  private void failed(RuntimeException error) {
    output.note("error: " + SamplingOptions.spelled(ErrorReport.sentence(error)));
  }
}
