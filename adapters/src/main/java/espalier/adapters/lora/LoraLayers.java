package espalier.adapters.lora;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.AttentionProjection;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Partition;

/** The class that serves a variant on a kind of layer. */
final class LoraLayers {

  private LoraLayers() {}

  static Adapter create(LoraConfig config, Adaptable layer, String path, Init init) {
    LoraSupport.require(config, layer, path, init.isBlank());
    Partition partition = layer.partition();
    if (partition != null && partition.splits()) {
      return ParallelLayers.create(config, layer, path, init, partition);
    }
    return switch (layer) {
      case AttentionProjection projection -> onAttention(config, projection, path, init);
      case Linear linear -> onLinear(config, linear, path, init);
      case Embedding embedding -> onEmbedding(config, embedding, path, init);
      case Convolution convolution -> onConvolution(config, convolution, path, init);
      case ExpertWeight weight -> new LoraExperts(config, weight, path, init);
      default -> throw LoraSupport.unsupported(layer, path);
    };
  }

  // The reference computes with W + ΔW, which leaves no place for dropout.
  private static Adapter onAttention(
      LoraConfig config, AttentionProjection layer, String path, Init init) {
    LoraConfig still = config.toBuilder().dropout(0).build();
    return new LoraAttention(still, layer, path, LoraStart.of(still, layer, path, init));
  }

  private static Adapter onLinear(LoraConfig config, Linear layer, String path, Init init) {
    return switch (config.variant()) {
      case LoraVariant.Plain() ->
          new LoraLinear(config, layer, path, LoraStart.of(config, layer, path, init));
      case LoraVariant.Dora() -> new DoraLinear(config, layer, path, init);
      case LoraVariant.Velora velora -> new VeloraLinear(config, velora, layer, path, init);
      case LoraVariant.Alora alora -> new AloraLinear(config, alora, layer, path, init);
      case LoraVariant.Monteclora own -> new MontecloraLinear(config, own, layer, path, init);
      case LoraVariant.Bdlora bd -> BlockDiagonal.create(config, bd, layer, path, init);
      case LoraVariant.Arrow arrow -> new ArrowLinear(config, arrow, layer, path, init);
      case LoraVariant.Kasa _ -> new KasaLinear(config, layer, path, init);
      case LoraVariant.Qalora _ -> new QaloraLinear(config, layer, path, init);
    };
  }

  private static Adapter onEmbedding(LoraConfig config, Embedding layer, String path, Init init) {
    return config.variant() instanceof LoraVariant.Dora
        ? new DoraEmbedding(config, layer, path, init)
        : new LoraEmbedding(config, layer, path, init);
  }

  private static Adapter onConvolution(
      LoraConfig config, Convolution layer, String path, Init init) {
    return config.variant() instanceof LoraVariant.Dora
        ? new DoraConvolution(config, layer, path, init)
        : new LoraConvolution(config, layer, path, init);
  }
}
