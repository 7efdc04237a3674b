package espalier.text.jinja;

import espalier.text.jinja.Token.Kind;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** The tokens of a template with a place in them, for the parsers. */
final class TokenStream {

  /** Brackets and blocks in one another; each costs the parser some 2 KB of stack. */
  private static final int DEEPEST = 100;

  private final List<Token> tokens;
  private int position;
  private int depth;
  private Set<String> names = new HashSet<>();

  TokenStream(List<Token> tokens) {
    this.tokens = tokens;
  }

  Token peek() {
    return tokens.get(position);
  }

  Token peekSecond() {
    return tokens.get(Math.min(position + 1, tokens.size() - 1));
  }

  Token next() {
    Token token = tokens.get(position);
    if (token.kind() != Kind.END) {
      position++;
    }
    return token;
  }

  boolean at(Kind kind) {
    return peek().kind() == kind;
  }

  boolean atName(String name) {
    return peek().is(Kind.NAME, name);
  }

  boolean atOperator(String operator) {
    return peek().is(Kind.OPERATOR, operator);
  }

  boolean skipName(String name) {
    boolean there = atName(name);
    if (there) {
      position++;
    }
    return there;
  }

  boolean skipOperator(String operator) {
    boolean there = atOperator(operator);
    if (there) {
      position++;
    }
    return there;
  }

  Token expect(Kind kind, String what) {
    if (!at(kind)) {
      throw unexpected(what);
    }
    return next();
  }

  String expectName() {
    return expect(Kind.NAME, "a name").text();
  }

  void expectName(String name) {
    if (!skipName(name)) {
      throw unexpected("'" + name + "'");
    }
  }

  void expectOperator(String operator) {
    if (!skipOperator(operator)) {
      throw unexpected("'" + operator + "'");
    }
  }

  JinjaException unexpected(String expected) {
    return error("found %s but expected %s".formatted(peek().describe(), expected));
  }

  JinjaException error(String message) {
    return new JinjaException(message).at(peek().line());
  }

  /** Notes that the parser goes one level down; {@link #leave} ends it. */
  void enter() {
    if (++depth > DEEPEST) {
      throw error("the template nests more than %d levels deep".formatted(DEEPEST));
    }
  }

  void leave() {
    depth--;
  }

  /** Notes that a variable is read. */
  void read(String name) {
    names.add(name);
  }

  /** Runs a parser and returns the variables that it read, for a macro to know what it takes. */
  Set<String> namesReadIn(Runnable parser) {
    Set<String> outer = names;
    names = new HashSet<>();
    try {
      parser.run();
      return names;
    } finally {
      outer.addAll(names);
      names = outer;
    }
  }
}
