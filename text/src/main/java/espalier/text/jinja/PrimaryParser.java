package espalier.text.jinja;

import espalier.text.jinja.Expression.Attribute;
import espalier.text.jinja.Expression.Call;
import espalier.text.jinja.Expression.CallArguments;
import espalier.text.jinja.Expression.Constant;
import espalier.text.jinja.Expression.DictOf;
import espalier.text.jinja.Expression.Entry;
import espalier.text.jinja.Expression.Filter;
import espalier.text.jinja.Expression.Item;
import espalier.text.jinja.Expression.ListOf;
import espalier.text.jinja.Expression.Name;
import espalier.text.jinja.Expression.Not;
import espalier.text.jinja.Expression.Slice;
import espalier.text.jinja.Expression.Test;
import espalier.text.jinja.Expression.TupleOf;
import espalier.text.jinja.Token.Kind;
import java.util.ArrayList;
import java.util.List;

/** Parses literals, names, and what hangs on them: fields, elements, calls, filters and tests. */
final class PrimaryParser {

  private final TokenStream tokens;
  private final ExpressionParser expressions;

  PrimaryParser(TokenStream tokens, ExpressionParser expressions) {
    this.tokens = tokens;
    this.expressions = expressions;
  }

  Expression primary() {
    Token token = tokens.peek();
    return switch (token.kind()) {
      case NAME -> {
        tokens.next();
        yield name(token.text());
      }
      case STRING -> new Constant(strings());
      case NUMBER -> new Constant(tokens.next().value());
      case OPERATOR ->
          switch (token.text()) {
            case "(" -> bracketed();
            case "[" -> list();
            case "{" -> dict();
            default -> throw tokens.unexpected("an expression");
          };
      default -> throw tokens.unexpected("an expression");
    };
  }

  private Expression name(String name) {
    return switch (name) {
      case "true", "True" -> new Constant(true);
      case "false", "False" -> new Constant(false);
      case "none", "None" -> new Constant(None.NONE);
      default -> {
        tokens.read(name);
        yield new Name(name);
      }
    };
  }

  /** Strings that stand side by side are one. */
  private String strings() {
    StringBuilder text = new StringBuilder();
    while (tokens.at(Kind.STRING)) {
      text.append(tokens.next().text());
    }
    return text.toString();
  }

  private Expression bracketed() {
    tokens.expectOperator("(");
    if (tokens.skipOperator(")")) {
      return new TupleOf(List.of());
    }
    Expression inside = expressions.tuple();
    tokens.expectOperator(")");
    return inside;
  }

  private Expression list() {
    tokens.expectOperator("[");
    List<Expression> elements = new ArrayList<>();
    while (!tokens.skipOperator("]")) {
      elements.add(expressions.expression());
      if (!tokens.atOperator("]")) {
        tokens.expectOperator(",");
      }
    }
    return new ListOf(elements);
  }

  private Expression dict() {
    tokens.expectOperator("{");
    List<Entry> entries = new ArrayList<>();
    while (!tokens.skipOperator("}")) {
      Expression key = expressions.expression();
      tokens.expectOperator(":");
      entries.add(new Entry(key, expressions.expression()));
      if (!tokens.atOperator("}")) {
        tokens.expectOperator(",");
      }
    }
    return new DictOf(entries);
  }

  /** Adds the fields, elements and calls that follow. */
  Expression postfixed(Expression primary) {
    Expression value = primary;
    while (true) {
      if (tokens.skipOperator(".")) {
        Token field = tokens.next();
        value =
            switch (field.kind()) {
              case NAME -> new Attribute(value, field.text());
              case NUMBER -> new Item(value, new Constant(field.value()));
              default -> throw tokens.error("a dot is followed by a name or a number");
            };
      } else if (tokens.skipOperator("[")) {
        value = subscript(value);
        tokens.expectOperator("]");
      } else if (tokens.atOperator("(")) {
        value = new Call(value, expressions.arguments());
      } else {
        return value;
      }
    }
  }

  private Expression subscript(Expression object) {
    Expression from = expressions.unless(":");
    if (!tokens.skipOperator(":")) {
      if (from == null) {
        throw tokens.unexpected("an expression");
      }
      return new Item(object, tokens.atOperator(",") ? keys(from) : from);
    }
    Expression to = expressions.unless(":", "]");
    Expression step = tokens.skipOperator(":") ? expressions.unless("]") : null;
    return new Slice(object, from, to, step);
  }

  /** {@code object[a, b]} asks for the tuple. */
  private Expression keys(Expression first) {
    List<Expression> keys = new ArrayList<>(List.of(first));
    while (tokens.skipOperator(",")) {
      keys.add(expressions.expression());
    }
    return new TupleOf(keys);
  }

  /** Adds the filters and tests that follow, and calls of what they give. */
  Expression filtered(Expression operand) {
    Expression value = operand;
    while (true) {
      if (tokens.skipOperator("|")) {
        value = new Filter(value, expressions.filter());
      } else if (tokens.skipName("is")) {
        boolean negated = tokens.skipName("not");
        Test test = new Test(value, expressions.dottedName(), testArguments());
        value = negated ? new Not(test) : test;
      } else if (tokens.atOperator("(")) {
        value = new Call(value, expressions.arguments());
      } else {
        return value;
      }
    }
  }

  /** A test may take one argument without brackets: {@code is divisibleby 3}. */
  private CallArguments testArguments() {
    if (tokens.atOperator("(")) {
      return expressions.arguments();
    }
    boolean argument =
        switch (tokens.peek().kind()) {
          case STRING, NUMBER -> true;
          case OPERATOR -> tokens.atOperator("[") || tokens.atOperator("{");
          case NAME -> {
            if (tokens.atName("is")) {
              throw tokens.error("tests cannot be chained; join them with 'and'");
            }
            yield !tokens.atName("else") && !tokens.atName("or") && !tokens.atName("and");
          }
          default -> false;
        };
    return argument
        ? new CallArguments(List.of(postfixed(primary())), List.of(), null, null)
        : CallArguments.NONE;
  }
}
