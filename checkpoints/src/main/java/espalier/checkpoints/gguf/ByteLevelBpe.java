package espalier.checkpoints.gguf;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** Model {@code gpt2}: BPE over the bytes of a text, each byte spelled as a visible character. */
final class ByteLevelBpe {

  private static final String MERGES = "tokenizer.ggml.merges";
  private static final String PRE = "tokenizer.ggml.pre";

  private ByteLevelBpe() {}

  static TokenizerParts parts(GgufMetadata metadata, Vocabulary vocabulary) {
    PreTokenizer preTokenizer = preTokenizer(metadata);
    Map<String, Object> model =
        Json.typed(
            "BPE",
            "dropout",
            null,
            "unk_token",
            null,
            "continuing_subword_prefix",
            null,
            "end_of_word_suffix",
            null,
            "fuse_unk",
            false,
            "byte_fallback",
            false,
            "ignore_merges",
            preTokenizer.wholeWords(),
            "vocab",
            vocabulary.ids(),
            "merges",
            merges(metadata, vocabulary));
    return new TokenizerParts(
        vocabulary.addedTokens(),
        preTokenizer.normalizer(),
        preTokenizer.json(),
        model,
        Json.typed("ByteLevel", "add_prefix_space", true, "trim_offsets", true, "use_regex", true),
        new TokenizerParts.Defaults(preTokenizer.addsBos(), null, null, null));
  }

  private static PreTokenizer preTokenizer(GgufMetadata metadata) {
    String name =
        metadata
            .findString(PRE)
            .or(
                () ->
                    // Files from before the key was there; of GPT-2 there is but one.
                    metadata.findString("general.architecture").filter("gpt2"::equals))
            .map(found -> found.equals("gpt2") ? "gpt-2" : found)
            .orElseThrow(
                () ->
                    metadata.refused(
                        PRE,
                        "is missing, and without it words would be cut in the wrong places;"
                            + " convert the model again"));
    return PreTokenizers.find(name)
        .orElseThrow(
            () ->
                metadata.refused(
                    PRE,
                    "is %s, but known are %s; use the model's original tokenizer.json"
                        .formatted(name, PreTokenizers.names())));
  }

  private static List<List<String>> merges(GgufMetadata metadata, Vocabulary vocabulary) {
    List<List<String>> merges = new ArrayList<>();
    for (String merge : metadata.strings(MERGES)) {
      int space = merge.indexOf(' ', 1); // the first character may be a space itself
      if (space < 0) {
        throw metadata.refused(
            MERGES,
            "holds \"%s\", which is not two tokens; convert the model again".formatted(merge));
      }
      String left = merge.substring(0, space);
      String right = merge.substring(space + 1);
      for (String token : List.of(left, right, left + right)) {
        if (!vocabulary.ids().containsKey(token)) {
          throw metadata.refused(
              MERGES,
              "holds \"%s\", but the vocabulary has no token \"%s\"; convert the model again"
                  .formatted(merge, token));
        }
      }
      merges.add(List.of(left, right));
    }
    return merges;
  }
}
