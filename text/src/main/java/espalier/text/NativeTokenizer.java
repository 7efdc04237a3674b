package espalier.text;

import ai.djl.huggingface.tokenizers.jni.CharSpan;
import ai.djl.huggingface.tokenizers.jni.LibUtils;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.function.LongFunction;

/**
 * The Rust tokenizer behind DJL's bindings, owned: freed once, and never while another thread is in
 * it.
 */
/*
 * The bindings are used one level below DJL's own HuggingFaceTokenizer, because that class
 *  - asks a cloud metadata address and then a telemetry host each time a tokenizer is made,
 *  - fetches eight arrays from native memory for each text where ids (and offsets) are wanted,
 *  - truncates and pads unless told not to.
 */
final class NativeTokenizer implements AutoCloseable {

  private static final TokenizersLibrary LIBRARY = library();

  private final ReadWriteLock lock = new ReentrantReadWriteLock(); // write: only to free
  private long handle; // 0 when freed

  /**
   * Makes a tokenizer.
   *
   * @param json the text of a {@code tokenizer.json}
   * @throws IllegalArgumentException when the native library cannot read it
   */
  NativeTokenizer(String json) {
    try {
      handle = LIBRARY.createTokenizerFromString(json);
    } catch (RuntimeException e) {
      throw new IllegalArgumentException(
          "the tokenizer's JSON was refused by the tokenizer library (%s); expected a whole"
                  .formatted(e.getMessage())
              + " tokenizer.json as transformers saves it",
          e);
    }
    // a tokenizer.json may carry both, left there by whoever called the tokenizer last
    LIBRARY.disablePadding(handle);
    LIBRARY.disableTruncation(handle);
  }

  private static TokenizersLibrary library() {
    // DJL would look for a CUDA build, and load it from the net, wherever there is a GPU
    if (System.getenv("RUST_FLAVOR") == null && System.getProperty("RUST_FLAVOR") == null) {
      System.setProperty("RUST_FLAVOR", "cpu");
    }
    LibUtils.checkStatus();
    return TokenizersLibrary.LIB;
  }

  int[] encode(String text, boolean addSpecialTokens) {
    return withHandle(
        "encode the text",
        tokenizer -> {
          long encoding = LIBRARY.encode(tokenizer, NativeText.of(text), addSpecialTokens);
          try {
            return ints(LIBRARY.getTokenIds(encoding));
          } finally {
            LIBRARY.deleteEncoding(encoding);
          }
        });
  }

  List<int[]> encodeAll(List<String> texts, boolean addSpecialTokens) {
    return withHandle(
        "encode the texts",
        tokenizer -> {
          String[] batch = texts.stream().map(NativeText::of).toArray(String[]::new);
          long[] encodings = LIBRARY.batchEncode(tokenizer, batch, addSpecialTokens);
          try {
            List<int[]> ids = new ArrayList<>(encodings.length);
            for (long encoding : encodings) {
              ids.add(ints(LIBRARY.getTokenIds(encoding)));
            }
            return ids;
          } finally {
            for (long encoding : encodings) {
              LIBRARY.deleteEncoding(encoding);
            }
          }
        });
  }

  Encoding encodeWithOffsets(String text, boolean addSpecialTokens) {
    return withHandle(
        "encode the text",
        tokenizer -> {
          String whole = NativeText.of(text);
          long encoding = LIBRARY.encode(tokenizer, whole, addSpecialTokens);
          try {
            int[] ids = ints(LIBRARY.getTokenIds(encoding));
            return offsets(whole, ids, LIBRARY.getTokenCharSpans(encoding));
          } finally {
            LIBRARY.deleteEncoding(encoding);
          }
        });
  }

  String decode(int[] ids, boolean skipSpecialTokens) {
    long[] wide = new long[ids.length];
    for (int i = 0; i < ids.length; i++) {
      if (ids[i] < 0) {
        throw new IllegalArgumentException(
            "id %d at position %d is negative but token ids start at 0; take out labels such as -100"
                    .formatted(ids[i], i)
                + " before decoding");
      }
      wide[i] = ids[i];
    }
    return withHandle(
        "decode the ids", tokenizer -> LIBRARY.decode(tokenizer, wide, skipSpecialTokens));
  }

  @Override
  public void close() {
    lock.writeLock().lock();
    try {
      if (handle != 0) {
        LIBRARY.deleteTokenizer(handle);
        handle = 0;
      }
    } finally {
      lock.writeLock().unlock();
    }
  }

  private <T> T withHandle(String purpose, LongFunction<T> use) {
    lock.readLock().lock();
    try {
      if (handle == 0) {
        throw new IllegalStateException(
            "cannot %s: the tokenizer was closed; keep it open as long as it is used"
                .formatted(purpose));
      }
      return use.apply(handle);
    } catch (IllegalStateException | IllegalArgumentException e) {
      throw e; // ours, and told well enough
    } catch (RuntimeException e) {
      throw new IllegalArgumentException(
          "the tokenizer library could not %s: %s".formatted(purpose, e.getMessage()), e);
    } finally {
      lock.readLock().unlock();
    }
  }

  /** The library counts code points; a Java string counts UTF-16 units. */
  private static Encoding offsets(String text, int[] ids, CharSpan[] spans) {
    int[] unitOf = new int[text.codePointCount(0, text.length()) + 1];
    for (int point = 0, unit = 0; point < unitOf.length; point++) {
      unitOf[point] = unit;
      if (unit < text.length()) {
        unit += Character.charCount(text.codePointAt(unit));
      }
    }
    int[] starts = new int[ids.length];
    int[] ends = new int[ids.length];
    for (int i = 0; i < ids.length; i++) {
      CharSpan span = spans[i];
      if (span != null) { // null for tokens that stand for no text
        starts[i] = unitOf[span.getStart()];
        ends[i] = unitOf[span.getEnd()];
      }
    }
    return new Encoding(ids, starts, ends);
  }

  private static int[] ints(long[] ids) {
    int[] narrow = new int[ids.length];
    for (int i = 0; i < ids.length; i++) {
      narrow[i] = Math.toIntExact(ids[i]);
    }
    return narrow;
  }
}
