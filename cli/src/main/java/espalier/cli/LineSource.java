package espalier.cli;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import org.jline.reader.EndOfFileException;
import org.jline.reader.LineReader;
import org.jline.reader.LineReaderBuilder;
import org.jline.reader.UserInterruptException;
import org.jline.terminal.Terminal;
import org.jline.terminal.TerminalBuilder;
import org.jspecify.annotations.Nullable;

/** Where the lines that a person types come from. */
interface LineSource extends AutoCloseable {

  /** The next line, or null at the end. */
  @Nullable String next() throws IOException;

  @Override
  default void close() throws IOException {}

  /** The terminal with editing and history, or standard input as it comes where there is none. */
  static LineSource open() throws IOException {
    if (!StandardStream.INPUT.isTerminal() || !StandardStream.OUTPUT.isTerminal()) {
      var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
      return input::readLine;
    }
    Terminal terminal = TerminalBuilder.builder().system(true).dumb(true).build();
    return new Typed(terminal);
  }

  /** A terminal. */
  record Typed(Terminal terminal, LineReader reader) implements LineSource {

    Typed(Terminal terminal) {
      this(terminal, LineReaderBuilder.builder().terminal(terminal).build());
      // Otherwise "!" in a question would call up an earlier one.
      reader.setOpt(LineReader.Option.DISABLE_EVENT_EXPANSION);
    }

    @Override
    public @Nullable String next() {
      try {
        return reader.readLine("> ");
      } catch (UserInterruptException | EndOfFileException e) {
        return null;
      }
    }

    @Override
    public void close() throws IOException {
      terminal.close();
    }
  }
}
