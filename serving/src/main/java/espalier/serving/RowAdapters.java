package espalier.serving;

import espalier.models.Model;
import espalier.nn.Adaptable;
import espalier.nn.AdapterStack;
import espalier.nn.Layer;
import espalier.nn.Rows;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/** Which adapter each row of a batch has. */
final class RowAdapters {

  private final Model model;
  private final Consumer<List<String>> check;

  /**
   * The adapters of a model.
   *
   * @param check throws for names that the model can not give to rows
   */
  RowAdapters(Model model, Consumer<List<String>> check) {
    this.model = model;
    this.check = check;
  }

  /** The adapter of each row, or null where all of them want what is active, which is faster. */
  @Nullable List<String> of(List<Prompt> prompts) {
    if (prompts.stream().allMatch(prompt -> prompt.adapter() == null)) {
      return null;
    }
    List<String> active = active();
    if (active.size() > 1 && prompts.stream().anyMatch(prompt -> prompt.adapter() == null)) {
      throw new IllegalArgumentException(
          "a prompt without an adapter means those that are active, but rows of a mixed batch have"
              + " one each and %s are active; name one, or Rows.BASE for none".formatted(active));
    }
    String usual = active.isEmpty() ? Rows.BASE : active.getFirst();
    List<String> names =
        prompts.stream().map(p -> Objects.requireNonNullElse(p.adapter(), usual)).toList();
    if (active.size() <= 1 && names.stream().allMatch(usual::equals)) {
      return null;
    }
    check.accept(names);
    return names;
  }

  private List<String> active() {
    AdapterStack stack = any();
    return stack == null || stack.disabled() ? List.of() : stack.active();
  }

  /** The stack of one layer with adapters: what is active is so on all of them. */
  private @Nullable AdapterStack any() {
    for (Layer layer : model.layers().values()) {
      if (layer instanceof Adaptable adaptable && !adaptable.adapters().all().isEmpty()) {
        return adaptable.adapters();
      }
    }
    return null;
  }
}
