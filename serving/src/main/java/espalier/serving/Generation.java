package espalier.serving;

import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * What became of a prompt.
 *
 * @param ids the new tokens, with the end token or those of the stop string that ended the row
 * @param text what they say, without special tokens, cut before a stop string
 * @param reason why the row ended
 * @param promptTokens tokens of the prompt
 * @param cachedTokens how many of those were in a cache already and cost nothing
 */
@SuppressWarnings("ArrayRecordComponent") // compared by content below; arrays are what callers feed
public record Generation(
    int[] ids, String text, FinishReason reason, int promptTokens, int cachedTokens) {

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof Generation(int[] i, String t, FinishReason r, int p, int c)
        && Arrays.equals(ids, i)
        && text.equals(t)
        && reason == r
        && promptTokens == p
        && cachedTokens == c;
  }

  @Override
  public int hashCode() {
    return 31 * Arrays.hashCode(ids) + text.hashCode();
  }

  @Override
  public String toString() {
    return "Generation[ids=%s, text=%s, reason=%s, promptTokens=%d, cachedTokens=%d]"
        .formatted(Arrays.toString(ids), text, reason, promptTokens, cachedTokens);
  }
}
