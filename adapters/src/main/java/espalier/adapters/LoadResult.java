package espalier.adapters;

import java.util.List;

/**
 * What came of loading saved tensors.
 *
 * @param attached the adapter that they were loaded into
 * @param missing keys that were expected and not there, sorted
 * @param unexpected keys that were there and not expected, sorted
 * @param mismatched keys whose shape did not fit and that were passed over, sorted
 * @param warnings what the user should know, sentences; with those of attaching
 */
public record LoadResult(
    Attached attached,
    List<String> missing,
    List<String> unexpected,
    List<String> mismatched,
    List<String> warnings) {}
