package espalier.text;

import java.util.Arrays;

/**
 * Turns tokens that arrive one at a time into text, never half a character.
 *
 * <p>One decoder serves one generation and one thread.
 */
/*
 * A token is not a piece of text: byte-level tokenizers split an emoji over several, sentencepiece
 * drops or keeps a space by what stands before. So a window of tokens is decoded twice, without and
 * with the new ones, and the difference is what they say. The window starts where the text was last
 * handed out but one, which keeps it a few tokens long.
 */
public final class StreamDecoder {

  private static final char REPLACEMENT = '\uFFFD';
  private static final int CONTEXT = 8; // tokens of the prompt that are looked at
  private static final int PATIENCE = 8; // no character has more than 4 bytes
  private static final int UNFINISHED = 3; // bytes that a character may have while it is unfinished

  private final Tokenizer tokenizer;
  private int[] ids;
  private int size;
  private int start; // where the window starts
  private int told; // tokens before this one have been handed out

  StreamDecoder(Tokenizer tokenizer, int[] context) {
    this.tokenizer = tokenizer;
    ids = new int[64];
    for (int i = Math.max(0, context.length - CONTEXT); i < context.length; i++) {
      if (!tokenizer.isSpecial(context[i])) {
        add(context[i]);
      }
    }
    told = size;
  }

  /**
   * Takes one more token and returns the text that is complete now, often none.
   *
   * @throws IllegalArgumentException for a negative id
   */
  public String push(int id) {
    if (tokenizer.isSpecial(id)) {
      // not kept either: to decode a window of special tokens only would look like a text's start
      return "";
    }
    add(id);
    String text = decode(start, size);
    if (!text.isEmpty() && text.charAt(text.length() - 1) == REPLACEMENT) {
      // bytes that will never be a character must not hold back all that follows
      return size - told <= PATIENCE ? "" : tell(size - UNFINISHED);
    }
    return tell(size);
  }

  /** Returns what is still held back, at the end of a generation. */
  public String finish() {
    return tell(size);
  }

  private String tell(int end) {
    String before = decode(start, told);
    String now = decode(start, end);
    if (now.length() <= before.length()) {
      return ""; // the new tokens say nothing by themselves; look again with the next one
    }
    int common = before.length();
    start = told;
    told = end;
    return now.substring(common);
  }

  private String decode(int from, int to) {
    return from == to ? "" : tokenizer.decode(Arrays.copyOfRange(ids, from, to), true);
  }

  private void add(int id) {
    if (size == ids.length) { // only the window is needed
      int[] room = new int[Math.max(64, 2 * (size - start))];
      System.arraycopy(ids, start, room, 0, size - start);
      ids = room;
      size -= start;
      told -= start;
      start = 0;
    }
    ids[size++] = id;
  }
}
