package espalier.serving;

import static org.bytedeco.pytorch.global.torch.linear;
import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.nn.Adapter;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.random.RandomGenerator;
import org.bytedeco.pytorch.Tensor;

/** The least adapter there can be: y + x Aᵀ Bᵀ, with A and B drawn so that it changes much. */
final class LowRank extends Adapter {

  private static final int R = 2;

  private final Linear layer;
  private final Tensor a; // [r, in]
  private final Tensor b; // [out, r]

  LowRank(Linear layer, RandomGenerator random) {
    this.layer = layer;
    try (var _ = Scope.open()) {
      a = parameter("a", drawn(random, R, layer.in()));
      b = parameter("b", drawn(random, layer.out(), R));
    }
  }

  private static Tensor drawn(RandomGenerator random, long rows, long columns) {
    float[] values = new float[(int) (rows * columns)];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian() * 0.3f;
    }
    return tensor(values).view(rows, columns);
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    return y.add(linear(linear(x, a), b));
  }

  @Override
  public Linear layer() {
    return layer;
  }

  @Override
  public Tensor deltaWeight() {
    return b.matmul(a);
  }
}
