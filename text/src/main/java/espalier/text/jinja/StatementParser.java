package espalier.text.jinja;

import espalier.text.jinja.Expression.Call;
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
import espalier.text.jinja.Statement.Parameter;
import espalier.text.jinja.Statement.Print;
import espalier.text.jinja.Statement.Signature;
import espalier.text.jinja.Statement.Target;
import espalier.text.jinja.Statement.Text;
import espalier.text.jinja.Statement.With;
import espalier.text.jinja.Token.Kind;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;

/** Parses text and blocks. */
final class StatementParser {

  private static final Set<String> CONSTANTS =
      Set.of("true", "True", "false", "False", "none", "None");

  private final TokenStream tokens;
  private final ExpressionParser expressions;
  private int loops; // that stand around what is parsed, up to a macro
  private int loopsAround; // macros or not
  private boolean marksGenerated;
  private final Set<String> blocks = new HashSet<>();

  private StatementParser(TokenStream tokens) {
    this.tokens = tokens;
    expressions = new ExpressionParser(tokens);
  }

  static Template parse(String template) {
    StatementParser parser = new StatementParser(new TokenStream(Lexer.tokens(template)));
    List<Statement> all = parser.statements();
    if (!parser.tokens.at(Kind.END)) {
      parser.tokens.next();
      throw parser.tokens.unexpected("no end of a block here, as none is open");
    }
    return new Template(all, parser.marksGenerated);
  }

  /** Statements up to a tag of one of the names, whose name is left to be read. */
  private List<Statement> statements(String... ends) {
    tokens.enter();
    List<Statement> body = new ArrayList<>();
    while (!tokens.at(Kind.END)) {
      Token token = tokens.peek();
      switch (token.kind()) {
        case TEXT -> body.add(new Text(tokens.next().text(), token.line()));
        case PRINT_BEGIN -> {
          tokens.next();
          body.add(new Print(expressions.tuple(), token.line()));
          tokens.expect(Kind.PRINT_END, "'}}'");
        }
        default -> {
          String name = tokens.peekSecond().text();
          if (List.of(ends).contains(name)) {
            tokens.next();
            tokens.leave();
            return body;
          }
          if (isEnd(name)) {
            tokens.leave();
            return unclosed(body, ends);
          }
          tokens.next();
          body.add(block(tokens.expectName(), token.line()));
        }
      }
    }
    tokens.leave();
    return unclosed(body, ends);
  }

  private List<Statement> unclosed(List<Statement> body, String... ends) {
    if (ends.length > 0) {
      throw tokens.error("a block is not closed with '%s'".formatted(ends[ends.length - 1]));
    }
    return body;
  }

  private static boolean isEnd(String name) {
    return name.startsWith("end") || name.equals("else") || name.equals("elif");
  }

  /** Statements up to the named end tag, which is read. */
  private List<Statement> bodyTo(String end) {
    List<Statement> body = statements(end);
    tokens.expectName(end);
    endTag();
    return body;
  }

  private void endTag() {
    tokens.expect(Kind.BLOCK_END, "'%}'");
  }

  private Statement block(String name, int line) {
    return switch (name) {
      case "if" -> conditional(line);
      case "for" -> loop(line);
      case "set" -> assignment(line);
      case "macro" -> macro(line);
      case "call" -> callBlock(line);
      case "filter" -> {
        List<FilterStep> filters = new ArrayList<>(List.of(expressions.filter()));
        filters.addAll(expressions.filters());
        endTag();
        yield new FilterBlock(filters, bodyTo("endfilter"), line);
      }
      case "with" -> with(line);
      case "block" -> block(line);
      case "generation" -> {
        endTag();
        marksGenerated = true;
        yield new Generation(bodyOfItsOwn("endgeneration"), line);
      }
      case "break", "continue" -> {
        if (loops == 0) {
          throw tokens.error("'%s' stands outside of a loop".formatted(name));
        }
        endTag();
        yield name.equals("break") ? new Break(line) : new Continue(line);
      }
      default ->
          throw tokens.error(
              "the block '%s' is not known; chat templates may use if, for, set, macro, call,"
                      .formatted(name)
                  + " filter, with, block, raw, generation, break and continue");
    };
  }

  /** A body that no break or continue leaves. */
  private List<Statement> bodyOfItsOwn(String end) {
    int outside = loops;
    loops = 0;
    List<Statement> body = bodyTo(end);
    loops = outside;
    return body;
  }

  /** A block that other templates could replace; as there are none, it is what stands in it. */
  private Statement block(int line) {
    String name = tokens.expectName();
    if (!blocks.add(name)) {
      throw tokens.error("the block %s is there twice".formatted(name));
    }
    endTag();
    int outside = loops;
    loops = 0;
    List<Statement> body = statements("endblock");
    tokens.expectName("endblock");
    tokens.skipName(name);
    endTag();
    loops = outside;
    return new With(List.of(), body, line);
  }

  private Statement conditional(int line) {
    List<Branch> branches = new ArrayList<>();
    List<Statement> otherwise = List.of();
    do {
      Expression condition = expressions.tupleWithoutConditional();
      endTag();
      branches.add(new Branch(condition, statements("elif", "else", "endif")));
    } while (tokens.skipName("elif"));
    if (tokens.skipName("else")) {
      endTag();
      otherwise = statements("endif");
    }
    tokens.expectName("endif");
    endTag();
    return new If(branches, otherwise, line);
  }

  private Statement loop(int line) {
    loopsAround++;
    Target target = target(false);
    tokens.expectName("in");
    Expression iterable = expressions.tupleWithoutConditional();
    Expression condition = tokens.skipName("if") ? expressions.expression() : null;
    boolean recursive = tokens.skipName("recursive");
    endTag();
    loops++;
    List<Statement> body = statements("else", "endfor");
    loops--;
    List<Statement> otherwise = List.of();
    if (tokens.skipName("else")) {
      endTag();
      otherwise = statements("endfor");
    }
    tokens.expectName("endfor");
    endTag();
    loopsAround--;
    return new For(target, iterable, condition, recursive, body, otherwise, line);
  }

  private Statement assignment(int line) {
    Target target = target(true);
    if (tokens.skipOperator("=")) {
      Expression value = expressions.tuple();
      endTag();
      return new Assign(target, value, line);
    }
    List<FilterStep> filters = expressions.filters();
    endTag();
    return new AssignBlock(target, filters, bodyTo("endset"), line);
  }

  private MacroDefinition macro(int line) {
    String name = variable();
    List<Parameter> parameters = new ArrayList<>();
    return macroBody(
        name,
        parameters,
        () -> {
          parameters(parameters);
          endTag();
          return bodyTo("endmacro");
        },
        line);
  }

  /** Parses what belongs to a macro, and finds out which special variables it reads. */
  private MacroDefinition macroBody(
      String name, List<Parameter> parameters, Supplier<List<Statement>> parser, int line) {
    int outside = loops;
    loops = 0;
    List<Statement> body = new ArrayList<>();
    Set<String> names = tokens.namesReadIn(() -> body.addAll(parser.get()));
    loops = outside;
    boolean needsCaller =
        parameters.stream().anyMatch(p -> p.name().equals("caller") && p.otherwise() == null);
    if (needsCaller && names.contains("caller")) {
      throw tokens.error("the parameter caller needs a default");
    }
    return new MacroDefinition(signature(name, parameters, names), body, line);
  }

  private static Signature signature(String name, List<Parameter> parameters, Set<String> names) {
    return new Signature(
        name,
        parameters,
        names.contains("varargs"),
        names.contains("kwargs"),
        names.contains("caller") || parameters.stream().anyMatch(p -> p.name().equals("caller")));
  }

  private void parameters(List<Parameter> parameters) {
    tokens.expectOperator("(");
    while (!tokens.skipOperator(")")) {
      if (!parameters.isEmpty()) {
        tokens.expectOperator(",");
      }
      String name = variable();
      if (parameters.stream().anyMatch(p -> p.name().equals(name))) {
        throw tokens.error("the parameter %s is there twice".formatted(name));
      }
      boolean optional = tokens.skipOperator("=");
      if (!optional
          && !parameters.isEmpty()
          && parameters.get(parameters.size() - 1).otherwise() != null) {
        throw tokens.error(
            "the parameter %s needs a default, as one before it has".formatted(name));
      }
      parameters.add(new Parameter(name, optional ? expressions.expression() : null));
    }
  }

  private Statement callBlock(int line) {
    List<Parameter> parameters = new ArrayList<>();
    if (tokens.atOperator("(")) {
      parameters(parameters);
    }
    if (!(expressions.expression() instanceof Call call)) {
      throw tokens.error("a call block expects a call such as {% call macro() %}");
    }
    endTag();
    var caller = macroBody("caller", parameters, () -> bodyTo("endcall"), line);
    return new CallBlock(call, caller, line);
  }

  private Statement with(int line) {
    List<Assign> assignments = new ArrayList<>();
    while (!tokens.at(Kind.BLOCK_END)) {
      if (!assignments.isEmpty()) {
        tokens.expectOperator(",");
      }
      Target target = target(false);
      tokens.expectOperator("=");
      assignments.add(new Assign(target, expressions.expression(), line));
    }
    endTag();
    return new With(assignments, bodyTo("endwith"), line);
  }

  /** {@code name}, {@code a, b}, {@code (a, (b, c))}, and where allowed {@code namespace.name}. */
  private Target target(boolean fields) {
    Target first = oneTarget(fields);
    if (!tokens.atOperator(",")) {
      return first;
    }
    List<Target> targets = new ArrayList<>(List.of(first));
    while (tokens.skipOperator(",")) {
      if (tokens.atOperator(")") || tokens.at(Kind.BLOCK_END)) {
        break; // a comma may end it
      }
      targets.add(oneTarget(fields));
    }
    return new Target.Unpacked(targets);
  }

  private Target oneTarget(boolean fields) {
    if (tokens.skipOperator("(")) {
      tokens.enter();
      Target inside = target(fields);
      tokens.leave();
      tokens.expectOperator(")");
      return inside;
    }
    String name = variable();
    if (fields && tokens.skipOperator(".")) {
      return new Target.Field(name, tokens.expectName());
    }
    if (name.equals("loop") && loopsAround > 0) {
      throw tokens.error("the variable loop cannot be set inside of a loop");
    }
    return new Target.Variable(name);
  }

  private String variable() {
    if (CONSTANTS.contains(tokens.peek().text())) {
      throw tokens.unexpected("a name that can be assigned to");
    }
    return tokens.expectName();
  }
}
