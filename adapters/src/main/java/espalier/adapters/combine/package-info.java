/**
 * Adapters made out of adapters: weighted sums of several, any method as LoRA, and LoRA with its
 * intruder dimensions reduced. Read {@link espalier.adapters.combine.Combining} first.
 */
package espalier.adapters.combine;
