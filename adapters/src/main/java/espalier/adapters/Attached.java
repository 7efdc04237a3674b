package espalier.adapters;

import java.util.List;

/**
 * An adapter that was put on a model.
 *
 * @param name its name
 * @param config its config with what attaching found out: the layers written out, the base model
 * @param modules paths of the layers that have it
 * @param parameters paths of the stacked parameters that have it
 * @param saved paths of the layers that it trains whole
 * @param tokens paths of the layers of which it trains some rows
 * @param warnings what the user should know, sentences
 */
public record Attached(
    String name,
    AdapterConfig config,
    List<String> modules,
    List<String> parameters,
    List<String> saved,
    List<String> tokens,
    List<String> warnings) {

  /** Copies the lists. */
  public Attached {
    modules = List.copyOf(modules);
    parameters = List.copyOf(parameters);
    saved = List.copyOf(saved);
    tokens = List.copyOf(tokens);
    warnings = List.copyOf(warnings);
  }
}
