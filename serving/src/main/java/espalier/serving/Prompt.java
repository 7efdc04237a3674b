package espalier.serving;

import java.util.Arrays;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * What a row starts from.
 *
 * @param ids token ids; for an encoder-decoder the text that is answered
 * @param adapter the adapter of this row, {@link espalier.nn.Rows#BASE} for none, or null for what
 *     is active on the model
 */
@SuppressWarnings("ArrayRecordComponent") // compared by content below; arrays are what callers have
public record Prompt(int[] ids, @Nullable String adapter) {

  /** A prompt for what is active on the model. */
  public static Prompt of(int... ids) {
    return new Prompt(ids, null);
  }

  /** The same prompt for another adapter. */
  public Prompt with(@Nullable String adapter) {
    return new Prompt(ids, adapter);
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof Prompt(int[] i, String a)
        && Arrays.equals(ids, i)
        && Objects.equals(adapter, a);
  }

  @Override
  public int hashCode() {
    return 31 * Arrays.hashCode(ids) + Objects.hashCode(adapter);
  }

  @Override
  public String toString() {
    return "Prompt[ids=%s, adapter=%s]".formatted(Arrays.toString(ids), adapter);
  }
}
