package espalier.text.jinja;

import java.util.List;
import org.jspecify.annotations.Nullable;

/** What evaluates to a value. */
sealed interface Expression {

  record Constant(Object value) implements Expression {}

  record Name(String name) implements Expression {}

  record ListOf(List<Expression> elements) implements Expression {}

  record TupleOf(List<Expression> elements) implements Expression {}

  record DictOf(List<Entry> entries) implements Expression {}

  record Entry(Expression key, Expression value) {}

  /** {@code object.name}: asks for a method or attribute first, then for an element. */
  record Attribute(Expression object, String name) implements Expression {}

  /** {@code object[key]}: asks for an element first. */
  record Item(Expression object, Expression key) implements Expression {}

  /** {@code object[from:to:step]}. */
  record Slice(
      Expression object,
      @Nullable Expression from,
      @Nullable Expression to,
      @Nullable Expression step)
      implements Expression {}

  record Call(Expression function, CallArguments arguments) implements Expression {}

  record Filter(Expression input, FilterStep step) implements Expression {}

  /** {@code | name(arguments)}, apart from what it is applied to. */
  record FilterStep(String name, CallArguments arguments) {}

  record Test(Expression input, String name, CallArguments arguments) implements Expression {}

  record Not(Expression operand) implements Expression {}

  record And(Expression left, Expression right) implements Expression {}

  record Or(Expression left, Expression right) implements Expression {}

  /** {@code then if condition else otherwise}; without an else it is undefined. */
  record Conditional(Expression condition, Expression then, @Nullable Expression otherwise)
      implements Expression {}

  /** {@code first < second <= third}: each operand is evaluated once. */
  record Comparison(Expression first, List<Compared> rest) implements Expression {}

  /** An operator with what stands to its right: ==, !=, <, <=, >, >=, in, not in. */
  record Compared(String operator, Expression operand) {}

  /** An operator of arithmetic: +, -, *, /, //, %, **. */
  record Arithmetic(String operator, Expression left, Expression right) implements Expression {}

  /** {@code +operand} or {@code -operand}. */
  record Signed(boolean negative, Expression operand) implements Expression {}

  /** {@code a ~ b ~ c}: all as text, one after the other. */
  record Concatenation(List<Expression> parts) implements Expression {}

  /** What stands in the brackets of a call: {@code positional, name=value, *star, **starStar}. */
  record CallArguments(
      List<Expression> positional,
      List<NamedArgument> named,
      @Nullable Expression star,
      @Nullable Expression starStar) {

    static final CallArguments NONE = new CallArguments(List.of(), List.of(), null, null);
  }

  record NamedArgument(String name, Expression value) {}
}
