/** LoRA. Read {@link espalier.adapters.lora.LoraLinear} first. */
package espalier.adapters.lora;
