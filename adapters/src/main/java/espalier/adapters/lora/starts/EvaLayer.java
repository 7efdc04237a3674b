package espalier.adapters.lora.starts;

import static org.bytedeco.pytorch.global.torch.cosine_similarity;

import espalier.adapters.ConfigException;
import espalier.adapters.calibration.IncrementalPca;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The principal components of the inputs of one layer, and which of them stand still. */
final class EvaLayer implements AutoCloseable {

  private final String path;
  private final int count;
  private final double tau;
  private final IncrementalPca pca;
  private final boolean[] converged;

  /**
   * A layer that has seen nothing.
   *
   * @param count how many components are followed
   * @param tau the cosine from which a component counts as converged
   */
  EvaLayer(String path, int count, double tau) {
    this.path = path;
    this.count = count;
    this.tau = tau;
    pca = new IncrementalPca(count);
    converged = new boolean[count];
  }

  String path() {
    return path;
  }

  int count() {
    return count;
  }

  /** Whether any rows were taken in. */
  boolean known() {
    return pca.rows() > 0;
  }

  /** Whether the first components stand still. */
  boolean converged(int first) {
    for (int i = 0; i < first; i++) {
      if (!converged[i]) {
        return false;
      }
    }
    return true;
  }

  /** Takes rows [n, in] in; n must not be less than {@link #count}. */
  void add(Tensor rows) {
    try (var _ = new PointerScope()) {
      Tensor before = known() ? pca.components().clone() : null;
      try {
        pca.add(rows.to(ScalarType.Float));
      } catch (ConfigException e) {
        throw new ConfigException("%s: %s".formatted(path, e.getMessage()));
      }
      if (before != null) {
        float[] cosines = floats(cosine_similarity(pca.components(), before));
        for (int i = 0; i < count; i++) {
          converged[i] = cosines[i] >= tau;
        }
      }
    }
  }

  /** The part of the variance that each component explains, largest first. */
  float[] explained() {
    try (var _ = new PointerScope()) {
      return floats(pca.explainedRatio());
    }
  }

  /** The first components, [rank, in], in the caller's scope; whitened by their values if asked. */
  Tensor components(int rank, boolean whiten) {
    Tensor first = pca.components().narrow(0, 0, rank);
    return whiten
        ? first.div(pca.singularValues().narrow(0, 0, rank).sqrt().unsqueeze(1))
        : first.clone();
  }

  private static float[] floats(Tensor values) {
    Tensor plain = values.to(ScalarType.Float).cpu().contiguous();
    float[] floats = new float[(int) plain.numel()];
    new FloatPointer(plain.data_ptr()).get(floats);
    return floats;
  }

  @Override
  public void close() {
    pca.close();
  }
}
