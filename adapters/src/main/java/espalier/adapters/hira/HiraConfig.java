package espalier.adapters.hira;

import espalier.adapters.AdapterConfig;
import espalier.adapters.ConfigHead;
import espalier.adapters.PathMap;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.Violations;
import espalier.adapters.gralora.BlockGrid;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.List;
import java.util.Map;

/**
 * Settings of HiRA.
 *
 * @param head what all methods say
 * @param targets the layers that get the branch
 * @param r rank of A [r, in] and B [out, r]; the update W ⊙ BA may be of full rank
 * @param dropout probability that an input feature is dropped before the branch, in [0, 1]
 * @param init how the factors start
 * @param rankPattern ranks by path
 * @param blocks blocks a side of the weight, each of which gets a modulation of its own, of rank r
 *     / blocks; 1 is HiRA, more is BHRA. It must divide r and the features of every layer. Saved
 *     only where it is not 1, for the reference has none
 * @param likeReference whether to repeat two slips of the reference, for comparing with it: it
 *     ignores {@code rankPattern} for a layer's first adapter, and does not scale the branch of an
 *     embedding that scales its output. Never saved
 */
public record HiraConfig(
    ConfigHead head,
    Targets targets,
    int r,
    double dropout,
    HiraInit init,
    PathMap<Integer> rankPattern,
    int blocks,
    boolean likeReference)
    implements AdapterConfig {

  /** Checks the numbers. */
  public HiraConfig {
    var wrong =
        new Violations()
            .unless(r >= 1, "r is %d but a rank is 1 or more; 32 is the method's default", r)
            .unless( // written so that NaN is refused too
                dropout >= 0 && dropout <= 1,
                "hira_dropout is %s but must lie in [0, 1]; 0 turns it off",
                dropout)
            .unless(blocks >= 1, "hira_blocks is %d but 1 or more is needed; 1 is HiRA", blocks)
            .unless(
                blocks < 1 || r % blocks == 0,
                "r is %d but must be divisible by hira_blocks, which is %d; change one of them",
                r,
                blocks);
    int side = Math.max(1, blocks);
    rankPattern
        .entries()
        .forEach(
            (key, rank) ->
                wrong
                    .unless(
                        rank >= 1, "rank_pattern has %d for %s but a rank is 1 or more", rank, key)
                    .unless(
                        rank % side == 0,
                        "rank_pattern has %d for %s but must be divisible by hira_blocks, which is"
                            + " %d",
                        rank,
                        key,
                        side));
    wrong.raise();
  }

  /** The method's defaults: r 32, no dropout, the architecture's usual layers. */
  public static HiraConfig defaults() {
    return new HiraConfig(
        ConfigHead.empty(),
        Targets.byArchitecture(),
        32,
        0,
        HiraInit.UNIFORM,
        PathMap.empty(),
        1,
        false);
  }

  /** The same config with another rank. */
  public HiraConfig withR(int rank) {
    return new HiraConfig(head, targets, rank, dropout, init, rankPattern, blocks, likeReference);
  }

  /** The same config with another dropout. */
  public HiraConfig withDropout(double probability) {
    return new HiraConfig(head, targets, r, probability, init, rankPattern, blocks, likeReference);
  }

  /** The same config with another start. */
  public HiraConfig withInit(HiraInit start) {
    return new HiraConfig(head, targets, r, dropout, start, rankPattern, blocks, likeReference);
  }

  /** The same config with other ranks by path; the first key that matches decides. */
  public HiraConfig withRankPattern(Map<String, Integer> ranks) {
    return new HiraConfig(
        head, targets, r, dropout, init, new PathMap<>(ranks), blocks, likeReference);
  }

  /** The same config with another number of blocks a side, which must divide r. */
  public HiraConfig withBlocks(int side) {
    return new HiraConfig(head, targets, r, dropout, init, rankPattern, side, likeReference);
  }

  /** The same config with or without the reference's slips. */
  public HiraConfig withLikeReference(boolean on) {
    return new HiraConfig(head, targets, r, dropout, init, rankPattern, blocks, on);
  }

  @Override
  public HiraConfig withHead(ConfigHead other) {
    return new HiraConfig(other, targets, r, dropout, init, rankPattern, blocks, likeReference);
  }

  @Override
  public HiraConfig withTargets(Targets other) {
    return new HiraConfig(head, other, r, dropout, init, rankPattern, blocks, likeReference);
  }

  @Override
  public HiraFormat format() {
    return new HiraFormat();
  }

  @Override
  public Map<String, PathMap<?>> patterns() {
    return Map.of("rank_pattern", rankPattern);
  }

  int rankAt(Adaptable layer, String path) {
    boolean first =
        layer.adapters().all().values().stream()
            .noneMatch(
                a ->
                    a instanceof HiraLinear
                        || a instanceof HiraExperts
                        || a instanceof HiraEmbedding
                        || a instanceof HiraConvolution);
    return likeReference && first ? r : rankPattern.at(path, r);
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init random) {
    int rank = rankAt(layer, path);
    if (blocks > 1) {
      requireBlocks(layer, path);
    }
    return switch (layer) {
      case Linear linear -> new HiraLinear(this, linear, rank, random);
      case Embedding embedding -> new HiraEmbedding(this, embedding, rank, random);
      case ExpertWeight experts -> new HiraExperts(this, experts, rank, random);
      case Convolution convolution -> {
        if (convolution.geometry().groups() > 1) {
          throw new UnsupportedAdapterException(
              "%s is a %s in %d groups but HiRA needs one group; leave it out"
                  .formatted(path, layer.typeName(), convolution.geometry().groups()));
        }
        yield new HiraConvolution(this, convolution, rank, random);
      }
      default ->
          throw new UnsupportedAdapterException(
              "%s is a %s but HiRA adapts Linear, Conv1D, Embedding, Conv1d, Conv2d, Conv3d and stacked parameters; take it out of target_modules"
                  .formatted(path, layer.typeName()));
    };
  }

  private void requireBlocks(Adaptable layer, String path) {
    if (!(layer instanceof Linear linear)) {
      throw new UnsupportedAdapterException(
          "%s is a %s but hira_blocks is for Linear and Conv1D; set it to 1, or leave the layer out"
              .formatted(path, layer.typeName()));
    }
    BlockGrid.requireDivides("hira_blocks", blocks, linear, path);
  }

  @Override
  public List<String> warnings(Adaptable layer) {
    return layer instanceof Embedding && dropout > 0
        ? List.of("hira_dropout has no effect on an embedding")
        : List.of();
  }
}
