package espalier.text.jinja;

import espalier.text.jinja.Token.Kind;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Cuts a template into text and tags, and takes away the white space that belongs to the tags.
 *
 * <p>{@code trim_blocks} and {@code lstrip_blocks} are on, as wherever chat templates are rendered:
 * a block or comment takes along the blanks before it on its line, and the line break after it. A
 * minus in the tag takes all white space on that side, a plus none.
 */
final class Lexer {

  /** More than any real template by far; parsing comes before any limit of a rendering counts. */
  private static final int LONGEST = 1 << 20;

  private static final Pattern RAW = Pattern.compile("(?U)\\s*raw\\s*(?:-%\\}\\s*|%\\})");
  private static final Pattern END_RAW =
      Pattern.compile("(?U)\\{%([-+]?)\\s*endraw\\s*([-+]?)%\\}");

  private final String source;
  private final Lines lines;
  private final List<Token> tokens = new ArrayList<>();
  private int position;

  private Lexer(String source) {
    this.source = source;
    lines = new Lines(source);
  }

  static List<Token> tokens(String template) {
    if (template.length() > LONGEST) {
      throw new JinjaException(
          "the template has %d UTF-16 units but at most %d are parsed"
              .formatted(template.length(), LONGEST));
    }
    String source = template.replace("\r\n", "\n").replace('\r', '\n');
    if (source.endsWith("\n")) {
      source = source.substring(0, source.length() - 1);
    }
    Lexer lexer = new Lexer(source);
    lexer.run();
    return lexer.tokens;
  }

  private void run() {
    for (int open = nextTag(); open >= 0; open = nextTag()) {
      char kind = source.charAt(open + 1);
      char sign = open + 2 < source.length() ? source.charAt(open + 2) : ' ';
      text(open, sign, kind != '{');
      position = open + 2 + (sign == '-' || sign == '+' ? 1 : 0);
      switch (kind) {
        case '#' -> comment(open);
        case '{' -> tag(open, Kind.PRINT_BEGIN, Kind.PRINT_END);
        default -> {
          Matcher raw = RAW.matcher(source).region(position, source.length());
          if (raw.lookingAt()) {
            position = raw.end();
            raw(open);
          } else {
            tag(open, Kind.BLOCK_BEGIN, Kind.BLOCK_END);
          }
        }
      }
    }
    text(source.length(), '+', false);
    tokens.add(new Token(Kind.END, "", lines.at(source.length())));
  }

  private int nextTag() {
    for (int i = source.indexOf('{', position); i >= 0; i = source.indexOf('{', i + 1)) {
      if (i + 1 < source.length() && "{%#".indexOf(source.charAt(i + 1)) >= 0) {
        return i;
      }
    }
    return -1;
  }

  /** Adds the text from here to the tag at {@code end}, less the white space that the tag takes. */
  private void text(int end, char sign, boolean block) {
    int last = end;
    if (sign == '-') {
      while (last > position && PythonText.isSpace(source.charAt(last - 1))) {
        last--;
      }
    } else if (sign != '+' && block) {
      int blanks = end;
      while (blanks > position
          && source.charAt(blanks - 1) != '\n'
          && PythonText.isSpace(source.charAt(blanks - 1))) {
        blanks--;
      }
      if (blanks == 0 || source.charAt(blanks - 1) == '\n') {
        last = blanks;
      }
    }
    if (last > position) {
      tokens.add(new Token(Kind.TEXT, source.substring(position, last), lines.at(position)));
    }
  }

  private void comment(int open) {
    int close = source.indexOf("#}", position);
    if (close < 0) {
      throw new JinjaException("a comment is not closed with '#}'").at(lines.at(open));
    }
    char sign = close > position ? source.charAt(close - 1) : ' ';
    position = close + 2;
    skipAfterTag(sign, true);
  }

  private void raw(int open) {
    Matcher end = END_RAW.matcher(source);
    if (!end.find(position)) {
      throw new JinjaException("a raw block is not closed with endraw").at(lines.at(open));
    }
    text(end.start(), first(end.group(1)), true);
    position = end.end();
    skipAfterTag(first(end.group(2)), true);
  }

  private static char first(String sign) {
    return sign.isEmpty() ? ' ' : sign.charAt(0);
  }

  private void tag(int open, Kind begin, Kind end) {
    tokens.add(new Token(begin, "", lines.at(open)));
    TagLexer tag = new TagLexer(source, position, lines, end == Kind.PRINT_END ? "}}" : "%}");
    position = tag.scan(tokens);
    tokens.add(new Token(end, "", lines.at(position - 1)));
    skipAfterTag(tag.closingSign(), end == Kind.BLOCK_END);
  }

  private void skipAfterTag(char sign, boolean block) {
    if (sign == '-') {
      while (position < source.length() && PythonText.isSpace(source.charAt(position))) {
        position++;
      }
    } else if (sign != '+' && block && source.startsWith("\n", position)) {
      position++;
    }
  }
}
