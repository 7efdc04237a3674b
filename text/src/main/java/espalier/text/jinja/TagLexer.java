package espalier.text.jinja;

import espalier.text.jinja.Token.Kind;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Cuts the inside of one tag into names, strings, numbers and operators. */
final class TagLexer {

  private static final String[] OPERATORS = { // the longer first
    "**", "//", "==", "!=", ">=", "<=", ">", "<", "+", "-", "*", "/", "%", "~", "|", ".", ",", ":",
    "(", ")", "[", "]", "{", "}", "="
  };

  private static final Pattern FLOAT =
      Pattern.compile("\\d[\\d_]*+(?:(?:\\.\\d[\\d_]*+)?[eE][-+]?\\d[\\d_]*+|\\.\\d[\\d_]*+)");
  private static final Pattern INTEGER =
      Pattern.compile("0[bB][01_]+|0[oO][0-7_]+|0[xX][\\da-fA-F_]+|\\d[\\d_]*");

  private final String source;
  private final Lines lines;
  private final String close;
  private int position;
  private char closingSign = ' ';

  TagLexer(String source, int position, Lines lines, String close) {
    this.source = source;
    this.position = position;
    this.lines = lines;
    this.close = close;
  }

  /** The plus or minus before the closing bracket, or a space. */
  char closingSign() {
    return closingSign;
  }

  /** Adds the tokens up to the tag's end, and returns the place after it. */
  int scan(List<Token> tokens) {
    int begin = position;
    Deque<String> open = new ArrayDeque<>(); // brackets that wait to be closed
    while (true) {
      while (position < source.length() && PythonText.isSpace(source.charAt(position))) {
        position++;
      }
      if (position >= source.length()) {
        throw new JinjaException("a tag is not closed with '%s'".formatted(close))
            .at(lines.at(begin));
      }
      // a }} inside of brackets closes two of them, not the tag
      if (open.isEmpty() && closes()) {
        return position;
      }
      Token token = next();
      balance(token, open);
      tokens.add(token);
    }
  }

  private boolean closes() {
    if (source.startsWith(close, position)) {
      position += 2;
      return true;
    }
    char sign = source.charAt(position);
    boolean signed = sign == '-' || (sign == '+' && close.equals("%}"));
    if (signed && source.startsWith(close, position + 1)) {
      closingSign = sign;
      position += 3;
      return true;
    }
    return false;
  }

  private Token next() {
    char c = source.charAt(position);
    int line = lines.at(position);
    if (c == '"' || c == '\'') {
      return new Token(Kind.STRING, string(c, line), line);
    }
    if (c >= '0' && c <= '9') {
      return number(line);
    }
    if (Character.isLetter(c) || c == '_') {
      int start = position;
      while (position < source.length()
          && (Character.isLetterOrDigit(source.charAt(position))
              || source.charAt(position) == '_')) {
        position++;
      }
      return new Token(Kind.NAME, source.substring(start, position), line);
    }
    for (String operator : OPERATORS) {
      if (source.startsWith(operator, position)) {
        position += operator.length();
        return new Token(Kind.OPERATOR, operator, line);
      }
    }
    throw new JinjaException("unexpected character '%c'".formatted(c)).at(line);
  }

  private String string(char quote, int line) {
    int start = position + 1;
    int end = start;
    while (end < source.length() && source.charAt(end) != quote) {
      end += source.charAt(end) == '\\' ? 2 : 1;
    }
    if (end >= source.length()) {
      throw new JinjaException("a string is not closed with %c".formatted(quote)).at(line);
    }
    position = end + 1;
    return Escapes.resolve(source.substring(start, end), line);
  }

  private Token number(int line) {
    Matcher number = FLOAT.matcher(source).region(position, source.length());
    boolean afterDot = position > 0 && source.charAt(position - 1) == '.'; // x.1.2 has two indices
    if (!afterDot && number.lookingAt()) {
      position = number.end();
      return new Token(Kind.NUMBER, "", Double.valueOf(number.group().replace("_", "")), line);
    }
    number.usePattern(INTEGER).region(position, source.length());
    if (!number.lookingAt()) {
      throw new JinjaException("a number is expected").at(line);
    }
    position = number.end();
    String digits = number.group().replace("_", "");
    int radix =
        switch (digits.length() > 1 ? Character.toLowerCase(digits.charAt(1)) : ' ') {
          case 'b' -> 2;
          case 'o' -> 8;
          case 'x' -> 16;
          default -> 10;
        };
    if (radix == 10 && digits.startsWith("0") && !digits.matches("0+")) {
      throw new JinjaException("a number starts with 0").at(line);
    }
    try {
      Number value = WholeNumbers.parse(radix == 10 ? digits : digits.substring(2), radix);
      return new Token(Kind.NUMBER, digits, value, line);
    } catch (NumberFormatException e) {
      throw new JinjaException("a number is expected").at(line);
    }
  }

  private void balance(Token token, Deque<String> open) {
    if (token.kind() != Kind.OPERATOR) {
      return;
    }
    switch (token.text()) {
      case "(" -> open.push(")");
      case "[" -> open.push("]");
      case "{" -> open.push("}");
      case ")", "]", "}" -> {
        if (!token.text().equals(open.poll())) {
          throw new JinjaException("unexpected '%s'".formatted(token.text())).at(token.line());
        }
      }
      default -> {}
    }
  }
}
