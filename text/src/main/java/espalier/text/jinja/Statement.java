package espalier.text.jinja;

import espalier.text.jinja.Expression.Call;
import espalier.text.jinja.Expression.FilterStep;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What writes to the output, or changes what comes after it. */
sealed interface Statement {

  /** Where it stands, counted from 1. */
  int line();

  record Text(String text, int line) implements Statement {}

  record Print(Expression value, int line) implements Statement {}

  record If(List<Branch> branches, List<Statement> otherwise, int line) implements Statement {}

  record Branch(Expression condition, List<Statement> body) {}

  record For(
      Target target,
      Expression iterable,
      @Nullable Expression condition,
      boolean recursive,
      List<Statement> body,
      List<Statement> otherwise,
      int line)
      implements Statement {}

  record Assign(Target target, Expression value, int line) implements Statement {}

  /** {@code {% set name %}...{% endset %}}. */
  record AssignBlock(Target target, List<FilterStep> filters, List<Statement> body, int line)
      implements Statement {}

  record MacroDefinition(Signature signature, List<Statement> body, int line)
      implements Statement {}

  /** {@code {% call(parameters) macro(...) %}...{% endcall %}}. */
  record CallBlock(Call call, MacroDefinition caller, int line) implements Statement {}

  record FilterBlock(List<FilterStep> filters, List<Statement> body, int line)
      implements Statement {}

  record With(List<Assign> assignments, List<Statement> body, int line) implements Statement {}

  /** {@code {% generation %}...{% endgeneration %}}: what the assistant says. */
  record Generation(List<Statement> body, int line) implements Statement {}

  record Break(int line) implements Statement {}

  record Continue(int line) implements Statement {}

  /**
   * What a macro takes.
   *
   * @param takesMore whether the body reads {@code varargs}
   * @param takesNames whether it reads {@code kwargs}
   * @param takesCaller whether it reads {@code caller}
   */
  record Signature(
      String name,
      List<Parameter> parameters,
      boolean takesMore,
      boolean takesNames,
      boolean takesCaller) {}

  record Parameter(String name, @Nullable Expression otherwise) {}

  /** What is assigned to. */
  sealed interface Target {

    record Variable(String name) implements Target {}

    /** {@code namespace.name}. */
    record Field(String namespace, String name) implements Target {}

    record Unpacked(List<Target> targets) implements Target {}
  }
}
