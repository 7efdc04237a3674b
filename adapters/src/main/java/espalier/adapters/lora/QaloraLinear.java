package espalier.adapters.lora;

import espalier.adapters.ConfigException;
import espalier.nn.Init;
import espalier.nn.Int4Weight;
import espalier.nn.Linear;
import espalier.nn.QuantisedWeight;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * QALoRA: LoRA whose input is averaged over groups of features, p_j = (in / g) · mean of x over
 * group j, so that A is [r, in / g] and what it adds to the weight is constant over each group of a
 * row. Merging into a group-quantised weight then moves its zero points and rounds nothing.
 *
 * @see <a href="https://arxiv.org/abs/2309.14717">QA-LoRA, ICLR 2024</a>
 */
public final class QaloraLinear extends LoraLinear {

  private final long group;

  QaloraLinear(LoraConfig config, Linear layer, String path, Init init) {
    super(config, layer, path, factors(config, layer, path, init));
    group = config.qaloraGroupSize();
  }

  private static LoraFactors factors(LoraConfig config, Linear layer, String path, Init init) {
    int size = config.qaloraGroupSize();
    if (layer.in() % size != 0) {
      throw new ConfigException(
          "qalora_group_size is %d but must divide the %d inputs of %s; choose a divisor, such as %d"
              .formatted(size, layer.in(), path, divisor(layer.in(), size)));
    }
    LoraFactors plain = LoraStart.of(config, layer, path, init);
    long groups = layer.in() / size;
    Tensor a = init.kaimingUniform(groups, config.rankAt(path), groups);
    return new LoraFactors(a, plain.b(), plain.bias());
  }

  private static long divisor(long inputs, long below) {
    long divisor = below;
    while (inputs % divisor != 0) {
      divisor--;
    }
    return divisor;
  }

  /** Inputs that are averaged. */
  public long group() {
    return group;
  }

  @Override
  Tensor hidden(Tensor kept) {
    // (in / g) · mean = (in / g²) · sum, and in that order one small tensor is scaled
    Tensor sums =
        kept.unflatten(-1, layer().in() / group, group)
            .sum(new long[] {-1}, false, new ScalarTypeOptional());
    return product(sums.mul(new Scalar(strength())), a());
  }

  /** What the sum over a group is multiplied with. */
  private double strength() {
    return layer().in() / (double) (group * group);
  }

  @Override
  Tensor wideA() {
    return times(wide(a()), strength())
        .repeat_interleave(group, new LongOptional(1), new LongOptional());
  }

  @Override
  public boolean mergesInto(QuantisedWeight codes) {
    return codes instanceof Int4Weight groups && group % groups.group() == 0;
  }

  @Override
  public QuantisedWeight mergedInto(QuantisedWeight codes) {
    if (!(codes instanceof Int4Weight groups)) {
      return super.mergedInto(codes);
    }
    Tensor delta = times(wideB().matmul(times(wide(a()), strength())), scaling());
    return groups.plus(
        delta.repeat_interleave(group / groups.group(), new LongOptional(1), new LongOptional()));
  }

  @Override
  public @Nullable String mergeRefusal() {
    if (referenceRefusals()) {
      return "the reference does not merge use_qalora; switch referenceRefusals off to merge it"
          + " into the zero points";
    }
    return layer().quantised() instanceof Int4Weight groups && !mergesInto(groups)
        ? "qalora_group_size is %d, which the groups of %d of the quantised base do not divide, so its zero points can not take the update"
            .formatted(group, groups.group())
        : super.mergeRefusal();
  }
}
