package espalier.text;

/** Text as the native tokenizer can take it. */
final class NativeText {

  /**
   * The longest run of characters of one kind. The patterns that cut a text into words go back over
   * a run that does not end as they hoped, and after 10,000,000 steps back the native library gives
   * up by ending the process.
   */
  private static final int LONGEST_RUN = 1_000_000;

  private NativeText() {}

  /**
   * The text with U+FFFD for each unpaired surrogate, which has no UTF-8. The length stays the
   * same.
   *
   * @throws IllegalArgumentException when a run of one kind of characters is too long
   */
  static String of(String text) {
    StringBuilder mended = null;
    int runStart = 0;
    int runKind = -1;
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      int kind = kind(c);
      if (kind != runKind) {
        runKind = kind;
        runStart = i;
      } else if (i - runStart >= LONGEST_RUN) {
        throw new IllegalArgumentException(
            ("the text has more than %d characters of one kind (spaces, letters, digits or others)"
                 + " in a row from position %d on, which the tokenizer library cannot take; break"
                 + " the run up or drop the text")
                .formatted(LONGEST_RUN, runStart));
      }
      if (Character.isSurrogate(c) && !isPaired(text, i)) {
        if (mended == null) {
          mended = new StringBuilder(text);
        }
        mended.setCharAt(i, '\uFFFD');
      }
    }
    return mended == null ? text : mended.toString();
  }

  private static boolean isPaired(String text, int i) {
    return Character.isHighSurrogate(text.charAt(i))
        ? i + 1 < text.length() && Character.isLowSurrogate(text.charAt(i + 1))
        : i > 0 && Character.isHighSurrogate(text.charAt(i - 1));
  }

  private static int kind(char c) {
    if (c <= ' ' || Character.isWhitespace(c) || Character.isSpaceChar(c)) {
      return 0;
    }
    return Character.isLetter(c) ? 1 : Character.isDigit(c) ? 2 : 3;
  }
}
