/** AdaLoRA. Read {@link espalier.adapters.adalora.AdaloraLinear} first. */
package espalier.adapters.adalora;
