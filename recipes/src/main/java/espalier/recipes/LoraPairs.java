package espalier.recipes;

import espalier.adapters.Adapters;
import espalier.adapters.lora.KasaLinear;
import espalier.adapters.lora.LoraConvolution;
import espalier.adapters.lora.LoraExperts;
import espalier.adapters.lora.LoraLinear;
import espalier.adapters.lora.QaloraLinear;
import espalier.nn.Adapter;
import espalier.nn.Linear;
import espalier.training.LoraPair;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** Finds the factors A and B of LoRA layers for the optimizers that treat them as a pair. */
public final class LoraPairs {

  private LoraPairs() {}

  /**
   * The pairs of all layers whose B trains, by the key of B in {@link Adapters#parameters()}. Each
   * has its own layer's factor, whatever patterns and rsLoRA made of it. Factors of embeddings are
   * left out.
   */
  public static Map<String, LoraPair> of(Adapters adapters) {
    var keys = new IdentityHashMap<Tensor, String>();
    adapters.parameters().forEach((key, tensor) -> keys.put(tensor, key));
    var pairs = new LinkedHashMap<String, LoraPair>();
    for (String name : adapters.names()) {
      for (Adapter adapter : adapters.on(name).values()) {
        Tensor b = adapter.parameters().get("lora_B.weight");
        String key = b == null ? null : keys.get(b);
        LoraPair pair = b == null ? null : pair(adapter, b);
        if (key != null && pair != null) {
          pairs.put(key, pair);
        }
      }
    }
    return pairs;
  }

  private static @Nullable LoraPair pair(Adapter adapter, Tensor b) {
    Tensor a = adapter.parameters().get("lora_A.weight");
    if (a == null) {
      return null;
    }
    return switch (adapter) {
      case QaloraLinear lora -> rows(a, b, lora.scaling()); // A is narrow, it has no blocks
      case KasaLinear kasa ->
          LoraPair.of(a, b, kasa.scaling())
              .with(Objects.requireNonNull(kasa.parameters().get("lora_diag")));
      case LoraLinear lora -> matrices(a, b, lora.scaling(), lora.layer());
      case LoraConvolution lora -> rows(a, b, lora.scaling());
      case LoraExperts lora when lora.layer().weight().dim() == 3 ->
          new LoraPair(a, b, lora.scaling(), (int) lora.layer().experts(), LoraPair.Split.EXPERTS);
      case LoraExperts lora -> LoraPair.of(a, b, lora.scaling());
      default -> null;
    };
  }

  private static LoraPair matrices(Tensor a, Tensor b, double scaling, Linear layer) {
    int blocksOfA = (int) (layer.in() / a.size(1)); // more than one if A is block-diagonal
    return blocksOfA > 1
        ? new LoraPair(a, b, scaling, blocksOfA, LoraPair.Split.COLUMNS)
        : rows(a, b, scaling);
  }

  // Rows of B see a part of the rank each if B is block-diagonal, or the convolution is grouped.
  private static LoraPair rows(Tensor a, Tensor b, double scaling) {
    int blocks = (int) (a.size(0) / b.size(1));
    return blocks > 1
        ? new LoraPair(a, b, scaling, blocks, LoraPair.Split.ROWS)
        : LoraPair.of(a, b, scaling);
  }
}
