package espalier.text.jinja;

import espalier.text.jinja.Expression.And;
import espalier.text.jinja.Expression.Arithmetic;
import espalier.text.jinja.Expression.Attribute;
import espalier.text.jinja.Expression.Call;
import espalier.text.jinja.Expression.CallArguments;
import espalier.text.jinja.Expression.Compared;
import espalier.text.jinja.Expression.Comparison;
import espalier.text.jinja.Expression.Concatenation;
import espalier.text.jinja.Expression.Conditional;
import espalier.text.jinja.Expression.Constant;
import espalier.text.jinja.Expression.DictOf;
import espalier.text.jinja.Expression.Entry;
import espalier.text.jinja.Expression.Filter;
import espalier.text.jinja.Expression.FilterStep;
import espalier.text.jinja.Expression.Item;
import espalier.text.jinja.Expression.ListOf;
import espalier.text.jinja.Expression.Name;
import espalier.text.jinja.Expression.NamedArgument;
import espalier.text.jinja.Expression.Not;
import espalier.text.jinja.Expression.Or;
import espalier.text.jinja.Expression.Signed;
import espalier.text.jinja.Expression.Slice;
import espalier.text.jinja.Expression.Test;
import espalier.text.jinja.Expression.TupleOf;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Evaluates expressions. */
final class Evaluator {

  private final Run run;

  Evaluator(Run run) {
    this.run = run;
  }

  Object evaluate(Expression expression, Variables variables) {
    run.step();
    run.enter();
    try {
      return value(expression, variables);
    } finally {
      run.leave();
    }
  }

  private Object value(Expression expression, Variables variables) {
    return switch (expression) {
      case Constant(Object value) -> value;
      case Name(String name) -> variables.get(name);
      case ListOf(List<Expression> elements) -> all(elements, variables);
      case TupleOf(List<Expression> elements) -> new Tuple(all(elements, variables));
      case DictOf(List<Entry> entries) -> dict(entries, variables);
      case Attribute(Expression object, String name) ->
          Lookup.attribute(run, evaluate(object, variables), name);
      case Item(Expression object, Expression key) ->
          Lookup.item(run, evaluate(object, variables), evaluate(key, variables));
      case Slice(Expression object, Expression from, Expression to, Expression step) ->
          Slices.slice(
              run,
              evaluate(object, variables),
              bound(from, variables),
              bound(to, variables),
              bound(step, variables));
      case Call call -> call(call, variables, null);
      case Filter(Expression input, FilterStep step) ->
          filter(evaluate(input, variables), step, variables);
      case Test(Expression input, String name, CallArguments arguments) ->
          Tests.test(run, name, evaluate(input, variables), arguments(arguments, variables));
      case Not(Expression operand) -> !Values.truth(evaluate(operand, variables));
      case And(Expression left, Expression right) -> {
        Object value = evaluate(left, variables);
        yield Values.truth(value) ? evaluate(right, variables) : value;
      }
      case Or(Expression left, Expression right) -> {
        Object value = evaluate(left, variables);
        yield Values.truth(value) ? value : evaluate(right, variables);
      }
      case Conditional(Expression condition, Expression then, Expression otherwise) -> {
        if (Values.truth(evaluate(condition, variables))) {
          yield evaluate(then, variables);
        }
        yield otherwise == null
            ? new Undefined("the condition was false and there is no else")
            : evaluate(otherwise, variables);
      }
      case Comparison comparison -> compare(comparison, variables);
      case Arithmetic(String operator, Expression left, Expression right) ->
          Operators.apply(run, operator, evaluate(left, variables), evaluate(right, variables));
      case Signed(boolean negative, Expression operand) ->
          Operators.signed(negative, evaluate(operand, variables));
      case Concatenation(List<Expression> parts) -> concatenated(parts, variables);
    };
  }

  private List<Object> all(List<Expression> expressions, Variables variables) {
    run.list(expressions.size());
    List<Object> values = new ArrayList<>(expressions.size());
    for (Expression expression : expressions) {
      values.add(evaluate(expression, variables));
    }
    return values;
  }

  private Map<Object, Object> dict(List<Entry> entries, Variables variables) {
    run.list(2L * entries.size());
    Map<Object, Object> dict = new LinkedHashMap<>();
    for (Entry entry : entries) {
      Object key = Values.key(evaluate(entry.key(), variables));
      dict.put(key, evaluate(entry.value(), variables));
    }
    return dict;
  }

  private @Nullable Object bound(@Nullable Expression bound, Variables variables) {
    return bound == null ? null : evaluate(bound, variables);
  }

  private boolean compare(Comparison comparison, Variables variables) {
    Object left = evaluate(comparison.first(), variables);
    for (Compared compared : comparison.rest()) {
      Object right = evaluate(compared.operand(), variables);
      if (!Operators.holds(run, compared.operator(), left, right)) {
        return false;
      }
      left = right;
    }
    return true;
  }

  private String concatenated(List<Expression> parts, Variables variables) {
    StringBuilder text = new StringBuilder();
    for (Expression part : parts) {
      text.append(PythonText.str(run, evaluate(part, variables)));
      run.string(text.length()); // as Python, which would join them two by two
    }
    return text.toString();
  }

  Object filter(Object input, FilterStep step, Variables variables) {
    return Filters.apply(run, step.name(), input, arguments(step.arguments(), variables));
  }

  /**
   * Calls what the expression names.
   *
   * @param caller the body of a call block, handed over as an argument of that name
   */
  Object call(Call call, Variables variables, @Nullable Macro caller) {
    Object function = evaluate(call.function(), variables);
    Arguments arguments = arguments(call.arguments(), variables);
    if (caller != null) {
      Map<String, Object> named = new LinkedHashMap<>(arguments.named());
      named.put("caller", caller);
      arguments = new Arguments(arguments.positional(), named);
    }
    return switch (function) {
      case Callable callable -> callable.call(run, arguments);
      case Undefined undefined -> throw undefined.error();
      default ->
          throw new JinjaException(
              "'%s' object cannot be called".formatted(Values.typeOf(function)));
    };
  }

  private Arguments arguments(CallArguments written, Variables variables) {
    List<Object> positional = all(written.positional(), variables);
    Map<String, Object> named = new LinkedHashMap<>();
    for (NamedArgument argument : written.named()) {
      put(named, argument.name(), evaluate(argument.value(), variables));
    }
    if (written.star() != null) {
      List<Object> more = Values.iterate(run, evaluate(written.star(), variables));
      run.list(more.size());
      positional.addAll(more);
    }
    if (written.starStar() != null) {
      if (!(evaluate(written.starStar(), variables) instanceof Map<?, ?> more)) {
        throw new JinjaException("the argument after ** must be a mapping");
      }
      run.list(more.size());
      more.forEach((name, value) -> put(named, PythonText.str(run, name), value));
    }
    return new Arguments(positional, named);
  }

  private static void put(Map<String, Object> named, String name, Object value) {
    if (named.put(name, value) != null) {
      throw new JinjaException("the argument %s is given twice".formatted(name));
    }
  }
}
