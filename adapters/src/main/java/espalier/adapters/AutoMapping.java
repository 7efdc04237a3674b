package espalier.adapters;

/**
 * The Python class of the base model, which readers use where no task is named.
 *
 * @param baseModelClass such as {@code LlamaForCausalLM}
 * @param parentLibrary such as {@code transformers.models.llama.modeling_llama}
 */
public record AutoMapping(String baseModelClass, String parentLibrary) {}
