package espalier.adapters.lora;

import static espalier.nn.Features.rows;
import static espalier.nn.Features.shaped;
import static org.bytedeco.pytorch.global.torch.createCPUGenerator;
import static org.bytedeco.pytorch.global.torch.dropout;
import static org.bytedeco.pytorch.global.torch.randn;

import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.T_TensorTensor_T;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Arrow: sends each token to those of the layer's other LoRA adapters whose update answers to it
 * most. The factors of the router itself are saved with it, as the reference has it, and never
 * used.
 *
 * <pre>
 *     simₑ = |x·pₑ|      c = softmax(the k largest / temperature)      y + Σ cₑ·sₑ·Bₑ·Aₑ·x
 * </pre>
 *
 * @see <a href="https://arxiv.org/abs/2405.11157">Towards Modular LLMs by Building and Reusing a
 *     Library of LoRAs</a>
 */
public final class ArrowLinear extends LoraLinear {

  private final LoraVariant.Arrow settings;
  private final double dropout;
  private final String path;
  private final GeneralKnowledge knowledge = new GeneralKnowledge();
  private volatile @Nullable Experts experts;

  ArrowLinear(LoraConfig config, LoraVariant.Arrow settings, Linear layer, String path, Init init) {
    super(config, layer, path, LoraStart.of(config, layer, path, init));
    this.settings = settings;
    this.path = path;
    dropout = config.dropout();
  }

  @Override
  public Tensor first(Tensor x) {
    return forward(x, layer().base(x));
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    Tensor rows = rows(x);
    Experts present = experts();
    Tensor sum = present.mixture(rows, coefficients(rows, present.prototypes()));
    Tensor kept = dropout > 0 && training() ? dropout(sum, dropout, true) : sum;
    return y.add(shaped(kept, x).to(y.scalar_type().intern()));
  }

  /**
   * How much of each expert each token gets: zero but for the largest.
   *
   * @return [n, E], float32 or wider; each row sums to 1
   */
  private Tensor coefficients(Tensor rows, Tensor prototypes) {
    Tensor similar = product(wide(rows), prototypes).abs();
    long k = Math.min(settings.topK(), prototypes.size(0));
    T_TensorTensor_T top = similar.topk(k);
    Tensor weights = top.get0().div(new Scalar(settings.temperature())).softmax(-1);
    return similar.new_zeros(similar.size(0), similar.size(1)).scatter(1, top.get1(), weights);
  }

  /** One prototype for each expert, in the order in which these came, [E, in]. */
  public Tensor prototypes() {
    return experts().prototypes();
  }

  /**
   * The experts as they are now: found again where one came, went or was trained.
   *
   * @throws IllegalStateException if there is none
   */
  private Experts experts() {
    List<LoraLinear> present = named(name -> !general(name));
    Experts known = experts;
    if (known != null && known.are(present)) {
      return known;
    }
    synchronized (knowledge) {
      known = experts;
      return known != null && known.are(present) ? known : found(present);
    }
  }

  private Experts found(List<LoraLinear> present) {
    if (present.isEmpty()) {
      throw new IllegalStateException(
          "%s has a router but no adapter to send tokens to; load %s first"
              .formatted(path, settings.tasks() == null ? "the experts" : settings.tasks()));
    }
    if (settings.generalKnowledge()) {
      List<LoraLinear> generals = named(ArrowLinear::general);
      if (generals.isEmpty()) {
        throw new IllegalStateException(
            "%s: use_gks is set but no general adapter is there; load %s first"
                .formatted(path, settings.generals() == null ? "gks_0" : settings.generals()));
      }
      knowledge.subtract(present, generals, path);
    }
    var found = new Experts(present, this::start);
    Experts before = experts;
    experts = found;
    if (before != null) {
      before.close();
    }
    return found;
  }

  private Tensor start(long width) {
    Integer seed = settings.seed();
    return seed == null
        ? randn(width)
        : Init.of(createCPUGenerator(seed)).normal(1, width).to(ScalarType.Float);
  }

  private interface Names {
    boolean have(String name);
  }

  /** The plain adapters of this layer whose names are meant, in the order in which they came. */
  private List<LoraLinear> named(Names names) {
    var meant = new ArrayList<LoraLinear>();
    for (Map.Entry<String, Adapter> entry : layer().adapters().all().entrySet()) {
      Adapter adapter = entry.getValue();
      if (adapter.getClass() == LoraLinear.class && names.have(entry.getKey())) {
        meant.add((LoraLinear) adapter);
      }
    }
    return meant;
  }

  private static boolean general(String name) {
    return name.matches("gks_\\d+");
  }

  /** Keeps the factors of experts before general knowledge is taken out of them. */
  void keepOriginals() {
    synchronized (knowledge) {
      if (knowledge.begun()) {
        throw new IllegalStateException(
            path
                + ": general knowledge was subtracted already, so the originals are gone; ask for"
                + " them before the first forward");
      }
      knowledge.keep();
    }
  }

  /** Puts back the factors that were kept. The next forward through the router subtracts anew. */
  void restoreOriginals() {
    synchronized (knowledge) {
      knowledge.restore();
    }
  }

  @Override
  public String mergeRefusal() {
    return "a router chooses anew for each token, which no weight can; merge an expert instead";
  }

  @Override
  public void close() {
    super.close();
    knowledge.close();
    Experts known = experts;
    if (known != null) {
      known.close();
      experts = null;
    }
  }
}
