package espalier.adapters;

import java.util.List;

/**
 * What came of merging.
 *
 * @param merged names of the adapters that were merged now, in order
 * @param untied groups of layers that shared one weight and no longer do
 * @param warnings what the user should know, sentences
 */
public record MergeResult(List<String> merged, List<List<String>> untied, List<String> warnings) {}
