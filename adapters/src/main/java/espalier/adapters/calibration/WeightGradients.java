package espalier.adapters.calibration;

import static org.bytedeco.pytorch.global.torch.zeros;

import espalier.nn.Adaptable;
import espalier.nn.Convolution;
import espalier.nn.CustomFunction;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The gradients that the weights of some linear layers and convolutions would have, gᵀx summed in
 * float32 over backward passes. The weights themselves need no gradient, so the base may be frozen,
 * mapped, in half precision or quantised.
 *
 * <pre>{@code
 * try (var gradients = new WeightGradients(layers)) {
 *   for (Batch batch : batches) {
 *     try (var _ = Scope.graph()) {
 *       loss(batch).backward();
 *     }
 *   }
 *   Tensor mean = gradients.mean("model.layers.0.self_attn.q_proj");
 * }
 * }</pre>
 *
 * <p>Between creation and {@link #close} it observes the layers and holds one [out, in] a layer, on
 * the layer's device; to save memory, take the layers group by group.
 */
public final class WeightGradients implements AutoCloseable {

  private final Map<String, Sum> sums = new LinkedHashMap<>();
  private final Observation observation;

  /**
   * Begins to sum.
   *
   * @param layers by path
   */
  public WeightGradients(Map<String, ? extends Adaptable> layers) {
    layers.forEach((path, layer) -> sums.put(path, new Sum(layer)));
    try {
      observation = new Observation(layers, path -> of(path)::joined);
    } catch (RuntimeException e) {
      free();
      throw e;
    }
  }

  /** One layer's gradient so far. */
  private static final class Sum {
    private final Adaptable layer;
    private final Tensor total; // in the shape of the weight
    private long passes;

    Sum(Adaptable layer) {
      this.layer = layer;
      total =
          Scope.owned(
              () -> {
                Tensor weight = layer.originalWeight();
                return zeros(weight.shape()).to(weight.device(), ScalarType.Float);
              });
    }

    // The output is joined to the graph by an identity whose backward adds gᵀx on its way.
    Tensor joined(Tensor x, Tensor y) {
      if (!GradMode.is_enabled()) {
        return y;
      }
      // Below the first layer nothing needs a gradient; a leaf makes backward come here even so.
      boolean passedOn = y.requires_grad();
      Tensor source = passedOn ? y : y.detach().set_requires_grad(true);
      return CustomFunction.join(
          y.detach(),
          List.of(source),
          List.of(x),
          (g, saved) -> {
            add(g, saved.getFirst());
            return Collections.singletonList(passedOn ? g : null);
          });
    }

    private void add(Tensor g, Tensor x) {
      switch (layer) {
        case Linear _ -> total.addmm_(rows(g).t(), rows(x));
        case Convolution convolution -> total.add_(convolution.kernelGradient(x, g));
        default ->
            throw new IllegalArgumentException(
                "the weight's gradient of a %s can not be summed; take linear layers and convolutions"
                    .formatted(layer.typeName()));
      }
      passes++;
    }

    private static Tensor rows(Tensor tensor) {
      return tensor.reshape(-1, tensor.size(-1)).to(ScalarType.Float);
    }
  }

  /** How many backward passes went through a layer. */
  public long passes(String path) {
    return of(path).passes;
  }

  /**
   * The summed gradient of a layer in the shape of its weight, float32; it lives as long as this
   * object.
   */
  public Tensor total(String path) {
    return of(path).total;
  }

  /**
   * The gradient of a layer divided by its backward passes, in the shape of its weight, float32.
   *
   * @throws IllegalStateException if no backward pass went through the layer
   */
  public Tensor mean(String path) {
    Sum sum = reached(path);
    return sum.total.div(new Scalar((double) sum.passes));
  }

  /**
   * The summed gradient of a layer, which is the caller's from here on and no longer held here.
   *
   * @throws IllegalStateException if no backward pass went through the layer
   */
  public Tensor take(String path) {
    Sum sum = reached(path);
    sums.remove(path);
    return sum.total;
  }

  private Sum reached(String path) {
    Sum sum = of(path);
    if (sum.passes == 0) {
      throw new IllegalStateException(
          "%s got no gradient: no backward pass went through it; run forward and backward of a loss that depends on it, or take it out of target_modules"
              .formatted(path));
    }
    return sum;
  }

  private Sum of(String path) {
    Sum sum = sums.get(path);
    if (sum == null) {
      throw new IllegalArgumentException(
          "%s is not among the observed layers %s".formatted(path, sums.keySet()));
    }
    return sum;
  }

  @Override
  public void close() {
    observation.close();
    free();
  }

  private void free() {
    sums.values().forEach(sum -> sum.total.close());
    sums.clear();
  }
}
