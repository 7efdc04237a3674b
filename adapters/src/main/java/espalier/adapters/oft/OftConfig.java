package espalier.adapters.oft;

import espalier.adapters.AdapterConfig;
import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigHead;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.Violations;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.List;

/**
 * Settings of OFT.
 *
 * @param head what all methods say
 * @param targets the layers whose input is rotated
 * @param r number of blocks, or 0 where {@code blockSize} says it
 * @param blockSize features of a block, or 0 where {@code r} says it
 * @param moduleDropout the part of the blocks that are left unrotated in training, in [0, 1]
 * @param bias which biases of the base train
 * @param initWeights whether a new adapter changes nothing; otherwise its angles are drawn
 * @param constraint the largest length of all angles together (COFT), or null for none
 * @param blockShare whether one rotation serves all blocks
 * @param cayley how a rotation is made of its angles
 */
public record OftConfig(
    ConfigHead head,
    Targets targets,
    int r,
    int blockSize,
    double moduleDropout,
    BiasTraining bias,
    boolean initWeights,
    Constraint constraint,
    boolean blockShare,
    Cayley cayley)
    implements AdapterConfig {

  /**
   * How far rotations may go.
   *
   * @param on whether they are held back
   * @param eps the length beyond which angles are shortened, a part of it for each block
   */
  public record Constraint(boolean on, double eps) {}

  /** Checks the numbers. */
  public OftConfig {
    new Violations()
        .unless(
            r >= 0 && blockSize >= 0 && (r == 0) != (blockSize == 0),
            "r is %d and oft_block_size is %d but exactly one of them must be above 0, for their"
                + " product is the layer's width; set the other to 0",
            r,
            blockSize)
        .unless(
            moduleDropout >= 0 && moduleDropout <= 1,
            "module_dropout is %s but must lie in [0, 1]; 0 turns it off",
            moduleDropout)
        .unless(
            targets.layersPattern() == null || targets.layers() != null,
            "layers_pattern has no effect without layers_to_transform; name the layers there")
        .unless(
            constraint.eps() > 0, "eps is %s but must be above 0; 6e-5 is usual", constraint.eps())
        .raise();
  }

  /** The method's defaults: blocks of 32 features, the architecture's usual layers. */
  public static OftConfig defaults() {
    return new OftConfig(
        ConfigHead.empty(),
        Targets.byArchitecture(),
        0,
        32,
        0,
        BiasTraining.NONE,
        true,
        new Constraint(false, 6e-5),
        false,
        new Cayley(true, 5));
  }

  /** The same config with blocks of another size. */
  public OftConfig withBlockSize(int size) {
    return new OftConfig(
        head, targets, 0, size, moduleDropout, bias, initWeights, constraint, blockShare, cayley);
  }

  /** The same config with another number of blocks. */
  public OftConfig withR(int blocks) {
    return new OftConfig(
        head, targets, blocks, 0, moduleDropout, bias, initWeights, constraint, blockShare, cayley);
  }

  /** The same config with another part of the blocks left unrotated. */
  public OftConfig withModuleDropout(double part) {
    return new OftConfig(
        head, targets, r, blockSize, part, bias, initWeights, constraint, blockShare, cayley);
  }

  /** The same config with rotations held back, at most {@code eps} of them together. */
  public OftConfig constrained(double eps) {
    return new OftConfig(
        head,
        targets,
        r,
        blockSize,
        moduleDropout,
        bias,
        initWeights,
        new Constraint(true, eps),
        blockShare,
        cayley);
  }

  /** The same config with one rotation for all blocks, or one each. */
  public OftConfig withBlockShare(boolean on) {
    return new OftConfig(
        head, targets, r, blockSize, moduleDropout, bias, initWeights, constraint, on, cayley);
  }

  /** The same config with another way from angles to a rotation. */
  public OftConfig withCayley(Cayley other) {
    return new OftConfig(
        head,
        targets,
        r,
        blockSize,
        moduleDropout,
        bias,
        initWeights,
        constraint,
        blockShare,
        other);
  }

  @Override
  public OftConfig withHead(ConfigHead other) {
    return new OftConfig(
        other,
        targets,
        r,
        blockSize,
        moduleDropout,
        bias,
        initWeights,
        constraint,
        blockShare,
        cayley);
  }

  @Override
  public OftConfig withTargets(Targets other) {
    return new OftConfig(
        head,
        other,
        r,
        blockSize,
        moduleDropout,
        bias,
        initWeights,
        constraint,
        blockShare,
        cayley);
  }

  @Override
  public OftFormat format() {
    return new OftFormat();
  }

  @Override
  public Adapter create(Adaptable layer, String path, Init init) {
    return switch (layer) {
      case Linear linear -> new OftLinear(this, linear, init);
      case Convolution c when c.dimensions() == 2 && c.geometry().groups() == 1 ->
          new OftConvolution(this, c, init);
      case Embedding embedding -> new OftEmbedding(this, embedding, init);
      default ->
          throw new UnsupportedAdapterException(
              "%s is a %s but OFT adapts Linear, Conv1D, Embedding and Conv2d in one group; take it out of target_modules"
                  .formatted(path, layer.typeName()));
    };
  }

  /** The blocks of a width: as many or as wide as asked, or the nearest that divide it. */
  Blocks blocks(long width) {
    if (r == 0) {
      long size = Blocks.nearestDivisor(width, blockSize);
      return new Blocks(width / size, size);
    }
    long count = Blocks.nearestDivisor(width, r);
    return new Blocks(count, width / count);
  }

  @Override
  public List<String> warnings(Adaptable layer) {
    long width =
        layer instanceof Linear linear
            ? linear.in()
            : layer.weight().numel() / layer.weight().size(0);
    Blocks blocks = blocks(width);
    if (r == 0 && blocks.size() != blockSize) {
      return List.of(
          "oft_block_size is %d, which does not divide its width of %d; it has blocks of %d"
              .formatted(blockSize, width, blocks.size()));
    }
    return r != 0 && blocks.count() != r
        ? List.of(
            "r is %d, which does not divide its width of %d; it has %d blocks"
                .formatted(r, width, blocks.count()))
        : List.of();
  }
}
