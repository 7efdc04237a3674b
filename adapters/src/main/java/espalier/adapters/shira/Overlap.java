package espalier.adapters.shira;

/**
 * How two adapters meet on one layer.
 *
 * @param path the layer
 * @param first one adapter
 * @param second the other
 * @param common entries that both change
 * @param interference ‖ΔW₁ᵀ ΔW₂‖ in Frobenius' norm: 0 if what one writes is nowhere seen by the
 *     other
 */
public record Overlap(String path, String first, String second, long common, double interference) {}
