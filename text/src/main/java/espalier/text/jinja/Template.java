package espalier.text.jinja;

import java.time.Clock;
import java.util.List;
import java.util.Map;

/**
 * A parsed template. It may be rendered by several threads at once.
 *
 * <p>What it understands is what the Python reference gives to chat templates: Jinja with {@code
 * trim_blocks} and {@code lstrip_blocks}, loop controls, the {@code generation} block, {@code
 * raise_exception}, {@code strftime_now}, and {@code tojson} that does not escape for HTML. There
 * are no files: include, import and extends are errors.
 */
public final class Template {

  private final List<Statement> statements;
  private final boolean marksGenerated;

  Template(List<Statement> statements, boolean marksGenerated) {
    this.statements = statements;
    this.marksGenerated = marksGenerated;
  }

  /**
   * Parses a template.
   *
   * @throws JinjaException when it is not one; says where
   */
  public static Template parse(String source) {
    try {
      return StatementParser.parse(source);
    } catch (StackOverflowError e) {
      // nesting is limited, but not how little stack the caller has left; see render
      throw new JinjaException("the template nests too deep for this thread's stack");
    }
  }

  /**
   * Renders the template.
   *
   * @param variables strings, numbers, booleans, null, and lists and maps of these
   * @param clock what {@code strftime_now} reads, in its zone
   * @throws JinjaException when the template raises an error or passes a limit
   * @throws IllegalArgumentException for a variable of another type
   */
  public Rendered render(Map<String, ?> variables, Clock clock, Limits limits) {
    Run run = new Run(limits, clock);
    Variables globals = new Variables(null);
    Globals.define(globals);
    variables.forEach((name, value) -> globals.set(name, Values.fromJava(value)));
    try {
      new Renderer(run).run(statements, new Variables(globals));
    } catch (JinjaException e) {
      throw e.at(run.line());
    } catch (StackOverflowError e) {
      // The depth is limited, but how much stack a level takes, and how much the caller has left,
      // is not known here. Nothing outlives a rendering, so nothing is left half done.
      throw new JinjaException("the template nests too deep for this thread's stack")
          .at(run.line());
    }
    return new Rendered(run.output().text(), run.output().generated());
  }

  /** Whether there is a generation block in it. */
  public boolean marksGenerated() {
    return marksGenerated;
  }

  /**
   * What came out.
   *
   * @param generated the places of the generation blocks, [start, end) in UTF-16 units
   */
  public record Rendered(String text, List<int[]> generated) {}
}
