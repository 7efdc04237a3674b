package espalier.checkpoints.gguf;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * How a byte-level tokenizer cuts a text into words.
 *
 * @param cuts made one after the other, each on what the one before has left
 * @param nfc whether the text is brought to Unicode's form C first
 * @param wholeWords whether a word that is a token is taken as it is, without merging
 * @param addsBos whether a text begins with the BOS token where the file does not say
 */
record PreTokenizer(List<Cut> cuts, boolean nfc, boolean wholeWords, boolean addsBos) {

  /** One way to cut. */
  sealed interface Cut {

    /** What the expression matches is a word, and so is what lies between. */
    record Matches(String regex) implements Cut {}

    /** Each digit is a word. */
    record Digits() implements Cut {}

    /** GPT-2's own expression, which the last step of every byte-level tokenizer can apply. */
    record Gpt2() implements Cut {}
  }

  PreTokenizer(Cut... cuts) {
    this(List.of(cuts), false, false, false);
  }

  PreTokenizer withNfc() {
    return new PreTokenizer(cuts, true, wholeWords, addsBos);
  }

  PreTokenizer withWholeWords() {
    return new PreTokenizer(cuts, nfc, true, addsBos);
  }

  PreTokenizer withBos() {
    return new PreTokenizer(cuts, nfc, wholeWords, true);
  }

  @Nullable Map<String, Object> normalizer() {
    return nfc ? Json.typed("NFC") : null;
  }

  /** As {@code pre_tokenizer} in {@code tokenizer.json}. */
  Map<String, Object> json() {
    boolean gpt2Last = cuts.getLast() instanceof Cut.Gpt2;
    List<Map<String, Object>> steps = new ArrayList<>();
    for (Cut cut : gpt2Last ? cuts.subList(0, cuts.size() - 1) : cuts) {
      steps.add(
          switch (cut) {
            case Cut.Matches(String regex) -> split(regex);
            case Cut.Digits() -> Json.typed("Digits", "individual_digits", true);
            case Cut.Gpt2() -> split(PreTokenizers.GPT2_REGEX);
          });
    }
    steps.add(
        Json.typed(
            "ByteLevel", "add_prefix_space", false, "trim_offsets", true, "use_regex", gpt2Last));
    return Json.sequence("pretokenizers", steps);
  }

  private static Map<String, Object> split(String regex) {
    return Json.typed(
        "Split", "pattern", Map.of("Regex", regex), "behavior", "Isolated", "invert", false);
  }
}
