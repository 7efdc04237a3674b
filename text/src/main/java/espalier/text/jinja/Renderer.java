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
import java.util.ArrayList;
import java.util.List;

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
        String text = run.capture(() -> execute(block.body(), new Variables(variables)));
        assign(block.target(), filtered(text, block.filters(), variables), variables);
      }
      case MacroDefinition macro ->
          variables.set(macro.signature().name(), new Macro(this, macro, variables));
      case CallBlock block -> {
        Macro caller = new Macro(this, block.caller(), variables);
        Object result = evaluator.call(block.call(), variables, caller);
        run.output().write(PythonText.str(run, result));
      }
      case FilterBlock block -> {
        String text = run.capture(() -> execute(block.body(), new Variables(variables)));
        run.output().write(PythonText.str(run, filtered(text, block.filters(), variables)));
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

  private Flow execute(If conditional, Variables variables) {
    for (Branch branch : conditional.branches()) {
      if (Values.truth(evaluator.evaluate(branch.condition(), variables))) {
        return execute(branch.body(), variables);
      }
    }
    return execute(conditional.otherwise(), variables);
  }

  private Flow loop(For loop, Object iterable, int depth, Variables outside) {
    List<Object> items = items(loop, Values.iterate(run, iterable), outside);
    if (items.isEmpty()) {
      return execute(loop.otherwise(), new Variables(outside));
    }
    Loop state =
        new Loop(
            items,
            depth,
            loop.recursive()
                ? inner -> run.capture(() -> loop(loop, inner, depth + 1, outside))
                : null);
    boolean toItsEnd = false;
    for (Object item : items) {
      state.next();
      Variables inside = new Variables(outside); // what an iteration sets ends with it
      inside.set("loop", state);
      assign(loop.target(), item, inside);
      Flow flow = execute(loop.body(), inside);
      toItsEnd |= flow == Flow.NEXT;
      if (flow == Flow.BREAK) {
        break;
      }
    }
    // the reference takes the else also where each iteration was left by break or continue
    return toItsEnd ? Flow.NEXT : execute(loop.otherwise(), new Variables(outside));
  }

  private List<Object> items(For loop, List<Object> all, Variables outside) {
    if (loop.condition() == null) {
      return all;
    }
    List<Object> wanted = new ArrayList<>();
    for (Object item : all) {
      Variables inside = new Variables(outside);
      assign(loop.target(), item, inside);
      if (Values.truth(evaluator.evaluate(loop.condition(), inside))) {
        wanted.add(item);
      }
    }
    return wanted;
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
