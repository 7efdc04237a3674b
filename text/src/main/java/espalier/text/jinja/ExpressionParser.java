package espalier.text.jinja;

import espalier.text.jinja.Expression.And;
import espalier.text.jinja.Expression.Arithmetic;
import espalier.text.jinja.Expression.CallArguments;
import espalier.text.jinja.Expression.Compared;
import espalier.text.jinja.Expression.Comparison;
import espalier.text.jinja.Expression.Concatenation;
import espalier.text.jinja.Expression.Conditional;
import espalier.text.jinja.Expression.FilterStep;
import espalier.text.jinja.Expression.NamedArgument;
import espalier.text.jinja.Expression.Not;
import espalier.text.jinja.Expression.Or;
import espalier.text.jinja.Expression.Signed;
import espalier.text.jinja.Expression.TupleOf;
import espalier.text.jinja.Token.Kind;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/** Parses operators, from the loosest binding to the tightest; a {@link PrimaryParser} the rest. */
final class ExpressionParser {

  private static final Set<String> COMPARISONS = Set.of("==", "!=", "<", "<=", ">", ">=");

  private final TokenStream tokens;
  private final PrimaryParser primaries;

  ExpressionParser(TokenStream tokens) {
    this.tokens = tokens;
    primaries = new PrimaryParser(tokens, this);
  }

  Expression expression() {
    tokens.enter();
    Expression value = or();
    while (tokens.skipName("if")) {
      Expression condition = or();
      Expression otherwise = tokens.skipName("else") ? expression() : null;
      value = new Conditional(condition, value, otherwise);
    }
    tokens.leave();
    return value;
  }

  /** An expression, or several with commas between, which are a tuple. */
  Expression tuple() {
    return tuple(true);
  }

  /** As {@link #tuple()}, but an {@code if} after it is not part of it. */
  Expression tupleWithoutConditional() {
    return tuple(false);
  }

  private Expression tuple(boolean conditional) {
    Expression first = conditional ? expression() : or();
    if (!tokens.atOperator(",")) {
      return first;
    }
    List<Expression> elements = new ArrayList<>(List.of(first));
    while (tokens.skipOperator(",")) {
      if (endsTuple()) {
        break;
      }
      elements.add(conditional ? expression() : or());
    }
    return new TupleOf(elements);
  }

  private boolean endsTuple() {
    return switch (tokens.peek().kind()) {
      case PRINT_END, BLOCK_END, END -> true;
      case OPERATOR -> tokens.atOperator(")");
      case NAME -> tokens.atName("recursive");
      default -> false;
    };
  }

  Expression or() {
    Expression left = and();
    while (tokens.skipName("or")) {
      left = new Or(left, and());
    }
    return left;
  }

  private Expression and() {
    Expression left = not();
    while (tokens.skipName("and")) {
      left = new And(left, not());
    }
    return left;
  }

  private Expression not() {
    if (!tokens.skipName("not")) {
      return comparison();
    }
    tokens.enter();
    Expression operand = not();
    tokens.leave();
    return new Not(operand);
  }

  private Expression comparison() {
    Expression first = sum();
    List<Compared> rest = new ArrayList<>();
    while (true) {
      Token token = tokens.peek();
      if (token.kind() == Kind.OPERATOR && COMPARISONS.contains(token.text())) {
        tokens.next();
        rest.add(new Compared(token.text(), sum()));
      } else if (tokens.skipName("in")) {
        rest.add(new Compared("in", sum()));
      } else if (tokens.atName("not") && tokens.peekSecond().is(Kind.NAME, "in")) {
        tokens.next();
        tokens.next();
        rest.add(new Compared("not in", sum()));
      } else {
        return rest.isEmpty() ? first : new Comparison(first, rest);
      }
    }
  }

  private Expression sum() {
    Expression left = concatenation();
    while (tokens.atOperator("+") || tokens.atOperator("-")) {
      left = new Arithmetic(tokens.next().text(), left, concatenation());
    }
    return left;
  }

  private Expression concatenation() {
    Expression first = product();
    if (!tokens.atOperator("~")) {
      return first;
    }
    List<Expression> parts = new ArrayList<>(List.of(first));
    while (tokens.skipOperator("~")) {
      parts.add(product());
    }
    return new Concatenation(parts);
  }

  private Expression product() {
    Expression left = power();
    while (tokens.atOperator("*")
        || tokens.atOperator("/")
        || tokens.atOperator("//")
        || tokens.atOperator("%")) {
      left = new Arithmetic(tokens.next().text(), left, power());
    }
    return left;
  }

  private Expression power() {
    Expression left = unary();
    while (tokens.skipOperator("**")) {
      left = new Arithmetic("**", left, unary());
    }
    return left;
  }

  /** A signed or plain operand with its filters and tests, which bind tighter than any operator. */
  private Expression unary() {
    return primaries.filtered(signed());
  }

  private Expression signed() {
    if (!tokens.atOperator("-") && !tokens.atOperator("+")) {
      return primaries.postfixed(primaries.primary());
    }
    tokens.enter();
    boolean negative = tokens.next().text().equals("-");
    Expression operand = signed();
    tokens.leave();
    return primaries.postfixed(new Signed(negative, operand));
  }

  /** The arguments of a call, brackets included. */
  CallArguments arguments() {
    tokens.expectOperator("(");
    List<Expression> positional = new ArrayList<>();
    List<NamedArgument> named = new ArrayList<>();
    Expression star = null;
    Expression starStar = null;
    while (!tokens.skipOperator(")")) {
      if (tokens.skipOperator("*")) {
        only(star == null && starStar == null);
        star = expression();
      } else if (tokens.skipOperator("**")) {
        only(starStar == null);
        starStar = expression();
      } else if (tokens.at(Kind.NAME) && tokens.peekSecond().is(Kind.OPERATOR, "=")) {
        only(starStar == null);
        String name = tokens.expectName();
        tokens.expectOperator("=");
        named.add(new NamedArgument(name, expression()));
      } else {
        only(star == null && starStar == null && named.isEmpty());
        positional.add(expression());
      }
      if (!tokens.atOperator(")")) {
        tokens.expectOperator(",");
      }
    }
    return new CallArguments(positional, named, star, starStar);
  }

  private void only(boolean inOrder) {
    if (!inOrder) {
      throw tokens.error(
          "the arguments of a call are out of order; values come first, then names, * and **");
    }
  }

  /** The filters that follow here, each with its bar. */
  List<FilterStep> filters() {
    List<FilterStep> steps = new ArrayList<>();
    while (tokens.skipOperator("|")) {
      steps.add(filter());
    }
    return steps;
  }

  /** A filter's name and arguments. */
  FilterStep filter() {
    String name = dottedName();
    return new FilterStep(name, tokens.atOperator("(") ? arguments() : CallArguments.NONE);
  }

  String dottedName() {
    StringBuilder name = new StringBuilder(tokens.expectName());
    while (tokens.skipOperator(".")) {
      name.append('.').append(tokens.expectName());
    }
    return name.toString();
  }

  /** An expression up to one of the operators, or null where one of them stands already. */
  @Nullable Expression unless(String... operators) {
    for (String operator : operators) {
      if (tokens.atOperator(operator)) {
        return null;
      }
    }
    return expression();
  }
}
