package espalier.text.jinja;

import java.util.ArrayList;
import java.util.List;

/** What is written, with the places of the generation blocks in it. */
final class Output {

  private final Run run;
  private final StringBuilder text = new StringBuilder();
  private final List<int[]> generated = new ArrayList<>(); // [start, end)

  Output(Run run) {
    this.run = run;
  }

  void write(String more) {
    if ((long) text.length() + more.length() > run.outputLimit()) {
      throw new JinjaException(
          "the template wrote more than %d characters and was stopped"
              .formatted(run.outputLimit()));
    }
    run.string(more.length());
    for (int[] span : run.marks(more)) {
      generated.add(new int[] {text.length() + span[0], text.length() + span[1]});
    }
    text.append(more);
  }

  int length() {
    return text.length();
  }

  /** Marks what was written since {@code start} as said by the assistant. */
  void markGenerated(int start) {
    generated.add(new int[] {start, text.length()});
  }

  List<int[]> generated() {
    return generated;
  }

  /** A string of its own, which no other call returns. */
  String text() {
    return text.toString();
  }
}
