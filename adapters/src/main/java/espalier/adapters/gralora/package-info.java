/** GraLoRA. Read {@link espalier.adapters.gralora.GraloraLinear} first. */
package espalier.adapters.gralora;
