package espalier.adapters.kappa;

import static org.bytedeco.pytorch.global.torch.linalg_svdvals;

import espalier.adapters.ModelFacts;
import espalier.adapters.NotFiniteException;
import espalier.nn.Adaptable;
import espalier.nn.ExpertWeight;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.Partition;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Chooses the layers whose weights have the smallest condition numbers κ = σ_max / σ_min: they
 * treat all directions alike, are the least specialised, and so forget the least when trained.
 *
 * <pre>{@code
 * KappaTargets found = Kappa.findTargets(model, facts, 0.2);
 * var config = LoraConfig.builder().targets(found.targets()).build();
 * }</pre>
 *
 * @see <a href="https://arxiv.org/abs/2506.16289">KappaTune</a>
 */
public final class Kappa {

  /** What is added to the smallest singular value. */
  private static final double TINY = 1e-8;

  /**
   * A layer and its condition number.
   *
   * @param path the layer's path
   * @param kappa its condition number; the mean over the experts of a stacked weight
   */
  public record Measured(String path, double kappa) {}

  private final Layer model;
  private final ModelFacts facts;
  private final KappaOptions options;
  private @Nullable List<Measured> modules;
  private @Nullable List<Measured> parameters;

  /** A selector for one model, which measures when it is first asked. */
  public Kappa(Layer model, ModelFacts facts, KappaOptions options) {
    this.model = model;
    this.facts = facts;
    this.options = options;
  }

  /** This part of the linear layers and of the expert weights, at least one of each. */
  public static KappaTargets findTargets(Layer model, ModelFacts facts, double topP) {
    return new Kappa(model, facts, KappaOptions.defaults()).select(new KappaChoice.Part(topP));
  }

  /** The layers that a choice means, of linear layers and of expert weights each. */
  public KappaTargets select(KappaChoice choice) {
    return new KappaTargets(paths(choice.of(modules())), paths(choice.of(parameters())));
  }

  private static List<String> paths(List<Measured> measured) {
    return measured.stream().map(Measured::path).toList();
  }

  /** All linear layers, smallest condition number first. Measured once. */
  public List<Measured> modules() {
    if (modules == null) {
      modules = measured(this::linear);
    }
    return modules;
  }

  /** All stacked expert weights, smallest condition number first. Measured once. */
  public List<Measured> parameters() {
    if (parameters == null) {
      parameters = measured(this::experts);
    }
    return parameters;
  }

  private interface Filter {
    boolean takes(String path, Layer layer);
  }

  private boolean linear(String path, Layer layer) {
    return layer instanceof Linear linear
        && (!linear.transposed() || options.conv1d())
        && !(options.excludeOutputHead() && path.equals(facts.outputHead()));
  }

  private boolean experts(String path, Layer layer) {
    return layer instanceof ExpertWeight weight
        && weight.weight().dim() == 3
        && options.moeSuffixes().stream().anyMatch(path::endsWith);
  }

  private List<Measured> measured(Filter filter) {
    var measured = new ArrayList<Measured>();
    try (var _ = new NoGradGuard()) {
      model
          .layers()
          .forEach(
              (path, layer) -> {
                if (filter.takes(path, layer) && fits((Adaptable) layer)) {
                  requireWhole(path, (Adaptable) layer);
                  options.progress().accept(path);
                  try (var _ = new PointerScope()) { // a quantised weight is decoded
                    measured.add(new Measured(path, kappa(path, ((Adaptable) layer).weight())));
                  }
                }
              });
    }
    measured.sort(Comparator.comparingDouble(Measured::kappa));
    return List.copyOf(measured);
  }

  private static void requireWhole(String path, Adaptable layer) {
    Partition partition = layer.partition();
    if (partition != null && partition.splits()) {
      throw new IllegalStateException(
          "%s is split over ranks and a part of a weight has another condition number; measure where the model is whole"
              .formatted(path));
    }
  }

  private boolean fits(Adaptable layer) {
    if (layer instanceof Linear linear) { // whose weight may be quantised, and is not decoded here
      return linear.in() <= options.maxDim() && linear.out() <= options.maxDim();
    }
    Tensor weight = layer.weight();
    long dims = weight.dim();
    return weight.size(dims - 1) <= options.maxDim() && weight.size(dims - 2) <= options.maxDim();
  }

  private static double kappa(String path, Tensor weight) {
    if (weight.dim() == 2) {
      return condition(path, weight);
    }
    double sum = 0;
    for (long expert = 0; expert < weight.size(0); expert++) {
      sum += condition(path, weight.select(0, expert));
    }
    return sum / weight.size(0);
  }

  private static double condition(String path, Tensor weight) {
    try (var _ = new PointerScope()) {
      Tensor wide = weight.to(ScalarType.Float);
      if (!wide.isfinite().all().item_bool()) {
        throw new NotFiniteException(
            "%s has entries that are not finite, so it has no condition number; the checkpoint is damaged"
                .formatted(path));
      }
      Tensor values = linalg_svdvals(wide);
      float largest = values.select(0, 0).item_float();
      float smallest = values.select(0, values.size(0) - 1).item_float();
      return largest / (smallest + TINY);
    }
  }
}
