package espalier.text.jinja;

/**
 * A piece of a template.
 *
 * @param text the text itself, the name, the operator, or the string with its escapes resolved
 * @param value the number of a {@code NUMBER}; otherwise the text again
 */
record Token(Kind kind, String text, Object value, int line) {

  enum Kind {
    TEXT,
    PRINT_BEGIN,
    PRINT_END,
    BLOCK_BEGIN,
    BLOCK_END,
    NAME,
    STRING,
    NUMBER,
    OPERATOR,
    END
  }

  Token(Kind kind, String text, int line) {
    this(kind, text, text, line);
  }

  boolean is(Kind kind, String text) {
    return this.kind == kind && this.text.equals(text);
  }

  String describe() {
    return switch (kind) {
      case TEXT -> "text";
      case PRINT_BEGIN -> "'{{'";
      case PRINT_END -> "'}}'";
      case BLOCK_BEGIN -> "'{%'";
      case BLOCK_END -> "'%}'";
      case END -> "the end of the template";
      case STRING -> "a string";
      case NUMBER -> "the number " + value;
      case NAME, OPERATOR -> "'" + text + "'";
    };
  }
}
