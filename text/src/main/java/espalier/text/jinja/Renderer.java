package espalier.text.jinja;

import espalier.text.jinja.Expression.FilterStep;
import espalier.text.jinja.Statement.Assign;
import espalier.text.jinja.Statement.AssignBlock;
import espalier.text.jinja.Statement.Branch;
import espalier.text.jinja.Statement.Break;
import espalier.text.jinja.Statement.CallBlock;
import espalier.text.jinja.Statement.Continue;
import espalier.text.jinja.Statement.FilterBlock;
import espalier.text.jinja.Statement.For;
import espalier.text.jinja.Statement.Generation;
import espalier.text.jinja.Statement.If;
import espalier.text.jinja.Statement.MacroDefinition;
import espalier.text.jinja.Statement.Print;
import espalier.text.jinja.Statement.Target;
import espalier.text.jinja.Statement.Text;
import espalier.text.jinja.Statement.With;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicReference;
import org.jspecify.annotations.Nullable;

/** Executes statements. */
final class Renderer {

  /** How a statement ended. */
  private enum Flow {
    NEXT,
    BREAK,
    CONTINUE
  }

  private final Run run;
  private final Evaluator evaluator;

  Renderer(Run run) {
    this.run = run;
    evaluator = new Evaluator(run);
  }

  Evaluator evaluator() {
    return evaluator;
  }

  /** Executes the statements of a template or macro, where no loop stands around them. */
  void run(List<Statement> statements, Variables variables) {
    execute(statements, variables);
  }

  private Flow execute(List<Statement> statements, Variables variables) {
    run.enter();
    try {
      for (Statement statement : statements) {
        run.at(statement.line());
        run.step();
        Flow flow = execute(statement, variables);
        if (flow != Flow.NEXT) {
          return flow;
        }
      }
      return Flow.NEXT;
    } finally {
      run.leave();
    }
  }

  private Flow execute(Statement statement, Variables variables) {
    switch (statement) {
      case Text text -> run.output().write(text.text());
      case Print print ->
          run.output().write(PythonText.str(run, evaluator.evaluate(print.value(), variables)));
      case If conditional -> {
        return execute(conditional, variables);
      }
      case For loop -> {
        Object iterable = evaluator.evaluate(loop.iterable(), variables);
        return loop(loop, iterable, 0, variables);
      }
      case Assign assign ->
          assign(assign.target(), evaluator.evaluate(assign.value(), variables), variables);
      case AssignBlock block -> {
        Captured inside = captured(block.body(), variables);
        if (inside.flow() != Flow.NEXT) {
          return inside.flow();
        }
        assign(block.target(), filtered(inside.text(), block.filters(), variables), variables);
      }
      case MacroDefinition macro ->
          variables.set(macro.signature().name(), new Macro(this, macro, variables));
      case CallBlock block -> {
        Macro caller = new Macro(this, block.caller(), variables);
        Object result = evaluator.call(block.call(), variables, caller);
        run.output().write(PythonText.str(run, result));
      }
      case FilterBlock block -> {
        Captured inside = captured(block.body(), variables);
        if (inside.flow() != Flow.NEXT) {
          return inside.flow();
        }
        Object made = filtered(inside.text(), block.filters(), variables);
        run.output().write(PythonText.str(run, made));
      }
      case With with -> {
        Variables inner = new Variables(variables);
        for (Assign assign : with.assignments()) { // none sees the others
          assign(assign.target(), evaluator.evaluate(assign.value(), variables), inner);
        }
        return execute(with.body(), inner);
      }
      case Generation generation -> {
        int start = run.output().length();
        Flow flow = execute(generation.body(), new Variables(variables));
        run.output().markGenerated(start);
        return flow;
      }
      case Break _ -> {
        return Flow.BREAK;
      }
      case Continue _ -> {
        return Flow.CONTINUE;
      }
    }
    return Flow.NEXT;
  }

  /** What statements wrote, and how they ended. */
  private record Captured(String text, Flow flow) {}

  private Captured captured(List<Statement> statements, Variables variables) {
    AtomicReference<Flow> flow = new AtomicReference<>(Flow.NEXT);
    String text = run.capture(() -> flow.set(execute(statements, new Variables(variables))));
    return new Captured(text, Objects.requireNonNull(flow.get()));
  }

  private Flow execute(If conditional, Variables variables) {
    for (Branch branch : conditional.branches()) {
      if (Values.truth(evaluator.evaluate(branch.condition(), variables))) {
        return execute(branch.body(), variables);
      }
    }
    return execute(conditional.otherwise(), variables);
  }

  private Flow loop(For loop, Object iterable, int depth, Variables outside) {
    Iterator<Object> all =
        iterable instanceof Generator generator
            ? generator.iterator()
            : Values.iterate(run, iterable).iterator();
    Loop state =
        new Loop(
            loop.condition() == null ? all : new Wanted(loop, loop.condition(), all, outside),
            depth,
            loop.recursive()
                ? inner -> run.capture(() -> loop(loop, inner, depth + 1, outside))
                : null);
    boolean toItsEnd = false;
    while (state.hasNext()) {
      run.step();
      Variables inside = new Variables(outside); // what an iteration sets ends with it
      inside.set("loop", state);
      assign(loop.target(), state.next(), inside);
      Flow flow = execute(loop.body(), inside);
      toItsEnd |= flow == Flow.NEXT;
      if (flow == Flow.BREAK) {
        break;
      }
    }
    // the reference takes the else also where each iteration was left by break or continue
    return toItsEnd ? Flow.NEXT : execute(loop.otherwise(), new Variables(outside));
  }

  /** The items that meet a loop's condition, each looked at when its turn comes. */
  private final class Wanted implements Iterator<Object> {

    private final For loop;
    private final Expression condition;
    private final Iterator<Object> all;
    private final Variables outside;
    private @Nullable Object found;

    Wanted(For loop, Expression condition, Iterator<Object> all, Variables outside) {
      this.loop = loop;
      this.condition = condition;
      this.all = all;
      this.outside = outside;
    }

    @Override
    public boolean hasNext() {
      while (found == null && all.hasNext()) {
        Object item = all.next();
        Variables inside = new Variables(outside);
        assign(loop.target(), item, inside);
        found = Values.truth(evaluator.evaluate(condition, inside)) ? item : null;
      }
      return found != null;
    }

    @Override
    public Object next() {
      if (!hasNext()) {
        throw new NoSuchElementException();
      }
      Object next = Objects.requireNonNull(found);
      found = null;
      return next;
    }
  }

  private Object filtered(String text, List<FilterStep> filters, Variables variables) {
    Object value = text;
    for (FilterStep filter : filters) {
      value = evaluator.filter(value, filter, variables);
    }
    return value;
  }

  private void assign(Target target, Object value, Variables variables) {
    switch (target) {
      case Target.Variable(String name) -> variables.set(name, value);
      case Target.Field(String namespace, String name) -> {
        if (!(variables.get(namespace) instanceof Namespace space)) {
          throw new JinjaException(
              "%s.%s cannot be set, as %s is not a namespace"
                  .formatted(namespace, name, namespace));
        }
        run.list(1);
        space.put(name, value);
      }
      case Target.Unpacked(List<Target> targets) -> {
        List<Object> values = Values.iterate(run, value);
        if (values.size() != targets.size()) {
          throw new JinjaException(
              "%d values cannot be unpacked into %d names"
                  .formatted(values.size(), targets.size()));
        }
        for (int i = 0; i < targets.size(); i++) {
          assign(targets.get(i), values.get(i), variables);
        }
      }
    }
  }
}
