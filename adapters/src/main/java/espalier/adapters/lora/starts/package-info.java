/**
 * Starts of LoRA that are computed from data before the adapter is attached. Read {@link
 * espalier.adapters.lora.starts.LoraGa} first, the shortest.
 */
package espalier.adapters.lora.starts;
