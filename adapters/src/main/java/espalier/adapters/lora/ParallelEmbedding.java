package espalier.adapters.lora;

import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Partition;
import espalier.nn.Shard;
import org.jspecify.annotations.Nullable;

/**
 * LoRA on an embedding that is split along the vocabulary: A is split with it, and the rows that
 * ranks look up are summed before B, which is the same on all of them.
 */
final class ParallelEmbedding extends LoraEmbedding {

  private final Partition partition;

  ParallelEmbedding(
      LoraConfig config, Embedding layer, String path, Init init, Partition partition) {
    super(config, layer, path, parts(config, layer, path, init, partition));
    this.partition = partition;
  }

  private static LoraFactors parts(
      LoraConfig config, Embedding layer, String path, Init init, Partition partition) {
    LoraFactors whole = WholeStart.of(config, layer, path, init, partition);
    var vocabulary = new Shard(partition.ranks(), 1);
    return new LoraFactors(vocabulary.of(whole.a()), whole.b(), null, whole.frozenB(), null);
  }

  @Override
  public @Nullable Shard shard(String name) {
    return name.equals("lora_embedding_A") ? new Shard(partition.ranks(), 1) : null;
  }
}
