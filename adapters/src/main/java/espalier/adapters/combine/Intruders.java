package espalier.adapters.combine;

import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.Follower;
import espalier.adapters.LoadOptions;
import espalier.adapters.SaveEmbeddings;
import espalier.adapters.SavedModule;
import espalier.adapters.TokenAdapter;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.Svd;
import espalier.adapters.combine.LoraTensors.OnLayer;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraEmbedding;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.AttentionProjection;
import espalier.nn.Embedding;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * Reduces the intruder dimensions of a LoRA adapter: large singular vectors of the adapted weight
 * that are like none of the base's, and with which a model forgets what it knew.
 *
 * <pre>{@code
 * Intruders.reduce(adapters, "default", "reduced", IntruderOptions.defaults());
 * }</pre>
 *
 * @see <a href="https://arxiv.org/abs/2410.21228">LoRA vs Full Fine-tuning: An Illusion of
 *     Equivalence</a>
 */
public final class Intruders {

  private final Adapters adapters;
  private final String name;
  private final LoraConfig config;
  private final IntruderOptions options;
  private final Map<String, Integer> found = new LinkedHashMap<>();
  private final List<String> warnings = new ArrayList<>();

  private Intruders(Adapters adapters, String name, LoraConfig config, IntruderOptions options) {
    this.adapters = adapters;
    this.name = name;
    this.config = config;
    this.options = options;
  }

  /**
   * Makes a new adapter out of one of a model, and makes it the active one. It has the same rank; a
   * layer without intruders has the same factors.
   *
   * @param name the adapter
   * @param newName what the new one is called
   * @throws AdapterException if the adapter is not there, or the new name is; the model stays as it
   *     was, as with the exception below
   * @throws UnsupportedAdapterException if the adapter is not LoRA, or its start changed the base
   */
  public static IntruderReport reduce(
      Adapters adapters, String name, String newName, IntruderOptions options) {
    if (adapters.names().contains(newName)) {
      throw new AdapterException(
          "the adapter %s is there already; choose another name or delete it first"
              .formatted(newName));
    }
    return new Intruders(adapters, name, lora(adapters, name), options).reduced(newName);
  }

  private static LoraConfig lora(Adapters adapters, String name) {
    if (!(adapters.config(name) instanceof LoraConfig config)) {
      throw new UnsupportedAdapterException(
          "%s is %s but intruder dimensions are reduced in LORA alone; convert it to LoRA first"
              .formatted(name, adapters.config(name).peftType()));
    }
    boolean takenOut =
        adapters.on(name).values().stream().anyMatch(adapter -> adapter.takenOut() != null);
    if (takenOut) {
      throw new UnsupportedAdapterException(
          "the start of %s took its first factors out of the base, so the adapter alone is not what was learned; call restoreBase first, or convert it to plain LoRA"
              .formatted(name));
    }
    if (config.variant() instanceof LoraVariant.Kasa) {
      throw new UnsupportedAdapterException(
          "%s has kasa_config, with which a second adapter would change the base once more; convert it to LoRA where that can be had"
              .formatted(name));
    }
    return config;
  }

  private IntruderReport reduced(String newName) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      // with the embeddings left out: on a model they are the same for all
      var tensors = new LinkedHashMap<>(adapters.state(name, SaveEmbeddings.NO));
      Map<String, Adapter> layers = adapters.on(name);
      layers.forEach(
          (path, adapter) -> {
            if (eligible(path, adapter)) {
              tensors.putAll(Scope.results(() -> layer(path, adapter)));
            }
          });
      follow(layers, tensors);
      // not the start of the source: what it did to the base is done
      LoraConfig own = config.toBuilder().init(new LoraInit.Uniform()).build();
      boolean training = adapters.model().training();
      adapters.load(newName, own, tensors, LoadOptions.defaults().withStrict(true));
      adapters.model().train(training); // loading what is not to be trained ends training
      Map<String, Adapter> made = adapters.on(newName);
      layers.forEach(
          (path, each) -> {
            Adapter reduced = Objects.requireNonNull(made.get(path));
            reduced.to(each.dtype());
            reduced.scale(each.scale());
          });
      warnings.addAll(adapters.setActive(List.of(newName)));
    }
    return new IntruderReport(found, warnings);
  }

  /** Layers that share the factors of another one get the new factors there. */
  private void follow(Map<String, Adapter> layers, Map<String, Tensor> tensors) {
    LoraTensors made = LoraTensors.of(name, tensors);
    layers.forEach(
        (path, adapter) -> {
          if (adapter instanceof Follower follower
              && follower.leader() instanceof LoraEmbedding leader) {
            String source =
                layers.keySet().stream()
                    .filter(p -> leader.equals(layers.get(p)))
                    .findFirst()
                    .orElseThrow();
            boolean embedding = adapter.layer() instanceof Embedding;
            tensors.putAll(made.on(source).following(embedding).named(path));
            Integer count = found.get(source);
            if (count != null) {
              found.put(path, count);
            }
          }
        });
  }

  /** Whether the update is s·B·A of a matrix; what is not is copied. */
  private boolean eligible(String path, Adapter adapter) {
    boolean product =
        switch (config.variant()) {
          case LoraVariant.Plain(),
              LoraVariant.Velora _,
              LoraVariant.Monteclora _,
              LoraVariant.Alora _ ->
              true;
          case LoraVariant.Dora(),
              LoraVariant.Bdlora _,
              LoraVariant.Arrow _,
              LoraVariant.Kasa _,
              LoraVariant.Qalora _ ->
              false;
        };
    if (adapter instanceof SavedModule
        || adapter instanceof TokenAdapter
        || adapter instanceof Follower) {
      return false; // stands in the place of the base, or goes with the layer that it follows
    }
    Adaptable layer = adapter.layer();
    boolean linear = layer instanceof Linear && !(layer instanceof AttentionProjection);
    if (product && (linear || layer instanceof Embedding)) {
      return true;
    }
    warnings.add(
        "%s was copied as it is: intruders are looked for where the update is B·A, on linear layers and embeddings"
            .formatted(path));
    return false;
  }

  private Map<String, Tensor> layer(String path, Adapter adapter) {
    WeightMatrix matrix = WeightMatrix.on(adapter.layer(), path);
    Tensor update = matrix.of(adapter.deltaWeight());
    Tensor base = matrix.of(adapter.layer().originalWeight()).to(update);
    Svd before = Svd.of(base);
    Svd after = Svd.of(base.add(update)).first(options.topK());
    Tensor cosine = after.u().t().matmul(before.u()).abs().amax(new long[] {1}, false); // [topK]
    Tensor strange = cosine.lt(new Scalar(options.epsilon()));
    int count = (int) strange.sum().item_long(); // waits for the device: once a layer
    found.put(path, count);
    if (count == 0) {
      return Map.of();
    }
    Tensor intruding = after.us().mul(strange).matmul(after.vt());
    Tensor mitigated =
        update
            .sub(intruding, new Scalar(options.removed()))
            .div_(new Scalar(config.scalingAt(path) * adapter.scale()));
    int r = config.rankAt(path);
    Svd svd = Svd.leading(mitigated, r).first(r);
    OnLayer like = LoraTensors.of(path, adapter);
    var factors = new Factors(svd.rightHalf().unsqueeze(0), svd.leftHalf().unsqueeze(0)).padded(r);
    return like.with(factors, like.bias()).named(path);
  }
}
