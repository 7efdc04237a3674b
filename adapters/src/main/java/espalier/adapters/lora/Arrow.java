package espalier.adapters.lora;

import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.LoadOptions;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Adapter;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.bytedeco.pytorch.Tensor;

/**
 * A router over LoRA adapters that were trained apart: each token goes to those that suit it, and
 * nothing is trained.
 *
 * <pre>{@code
 * Arrow.create(
 *     adapters,
 *     List.of(new Arrow.Expert(config, poems), new Arrow.Expert(config, laws)),
 *     List.of(),
 *     new LoraVariant.Arrow(2, 1, false, 42, null, null),
 *     LoadOptions.defaults());
 * }</pre>
 *
 * <p>A plain LoRA adapter that is loaded later is a further expert, one that is deleted no longer;
 * the router notices at the next forward. To train a newcomer, activate it; then activate {@link
 * #ROUTER} again.
 *
 * @see <a href="https://arxiv.org/abs/2405.11157">Towards Modular LLMs by Building and Reusing a
 *     Library of LoRAs</a>
 */
public final class Arrow {

  /** The name of the router among the model's adapters. */
  public static final String ROUTER = "arrow_router";

  private final Adapters adapters;

  private Arrow(Adapters adapters) {
    this.adapters = adapters;
  }

  /**
   * An adapter to be routed to, or to be subtracted.
   *
   * @param config its config
   * @param tensors its tensors by their key in the adapter's file
   */
  public record Expert(LoraConfig config, Map<String, Tensor> tensors) {}

  /**
   * Loads experts as {@code task_0}, {@code task_1}, ..., general adapters as {@code gks_0}, ...,
   * and activates a router over the former. If it fails, the model is as it was.
   *
   * @param generals adapters whose mean is subtracted from the experts; only with {@code use_gks}
   * @param settings how to route; the names in it are filled in here
   * @throws ConfigException if there are fewer experts than a token is sent to, or no general
   *     adapter where one is needed
   * @throws AdapterException if they differ in rank, in shapes or in the layers that they are on
   * @throws UnsupportedAdapterException if one is not plain LoRA on linear layers
   */
  public static Arrow create(
      Adapters adapters,
      List<Expert> tasks,
      List<Expert> generals,
      LoraVariant.Arrow settings,
      LoadOptions options) {
    requireEnough(tasks, generals, settings);
    var loaded = new ArrayList<String>();
    try {
      List<String> experts = load(adapters, "task_", tasks, options, loaded);
      List<String> subtracted =
          settings.generalKnowledge()
              ? load(adapters, "gks_", generals, options, loaded)
              : List.of();
      requireAlike(adapters, loaded);
      var named =
          new LoraVariant.Arrow(
              settings.topK(),
              settings.temperature(),
              settings.generalKnowledge(),
              settings.seed(),
              experts,
              subtracted);
      adapters.add(
          ROUTER,
          router(adapters, tasks.getFirst().config(), experts, named),
          AttachOptions.seeded(0).withAutocast(options.autocast()));
      loaded.add(ROUTER);
      adapters.setActive(List.of(ROUTER), true);
      return new Arrow(adapters);
    } catch (RuntimeException e) {
      loaded.reversed().forEach(adapters::delete);
      throw e;
    }
  }

  /**
   * The router that a model has.
   *
   * @throws AdapterException if it has none
   */
  public static Arrow of(Adapters adapters) {
    if (!adapters.names().contains(ROUTER)) {
      throw new AdapterException(
          "the model has no %s but the adapters %s; make one with Arrow.create"
              .formatted(ROUTER, adapters.names()));
    }
    return new Arrow(adapters);
  }

  private static void requireEnough(
      List<Expert> tasks, List<Expert> generals, LoraVariant.Arrow settings) {
    if (tasks.isEmpty()) {
      throw new ConfigException("there is no adapter to route to; give one task adapter or more");
    }
    if (settings.topK() > tasks.size()) {
      throw new ConfigException(
          "arrow_config.top_k is %d but there are %d experts; lower it or load more"
              .formatted(settings.topK(), tasks.size()));
    }
    if (settings.generalKnowledge() && generals.isEmpty()) {
      throw new ConfigException(
          "arrow_config.use_gks is set but there is no general adapter to subtract; give one or"
              + " turn it off");
    }
  }

  private static List<String> load(
      Adapters adapters,
      String prefix,
      List<Expert> experts,
      LoadOptions options,
      List<String> loaded) {
    var names = new ArrayList<String>();
    for (Expert expert : experts) {
      String name = prefix + names.size();
      if (!(expert.config().variant() instanceof LoraVariant.Plain)) {
        throw new UnsupportedAdapterException(
            "%s has %s but a router sends tokens to plain LoRA only"
                .formatted(name, expert.config().variant().field()));
      }
      adapters.load(name, expert.config(), expert.tensors(), options.withTrainable(false));
      names.add(name);
      loaded.add(name);
    }
    return List.copyOf(names);
  }

  private static LoraConfig router(
      Adapters adapters, LoraConfig first, Collection<String> experts, LoraVariant variant) {
    var paths = new LinkedHashSet<String>();
    experts.forEach(name -> paths.addAll(adapters.on(name).keySet()));
    return LoraConfig.builder()
        .head(first.head().withInferenceMode(true))
        .targets(Targets.named(paths.toArray(String[]::new)))
        .r(first.r())
        .variant(variant)
        .build();
  }

  /** Refuses adapters that can not be routed between. */
  private static void requireAlike(Adapters adapters, List<String> names) {
    String one = names.getFirst();
    var shapes = new LinkedHashMap<String, List<String>>(); // by path: shapes of A and B
    for (String name : names) {
      adapters
          .on(name)
          .forEach(
              (path, adapter) -> {
                List<String> own = shapes(name, path, adapter);
                List<String> other = shapes.putIfAbsent(path, own);
                if (other != null && !other.equals(own)) {
                  throw new AdapterException(
                      "%s has factors %s at %s but another expert has %s; all experts share rank and shapes"
                          .formatted(name, own, path, other));
                }
              });
      Set<String> leaves = leaves(adapters, name);
      if (!leaves.equals(leaves(adapters, one))) {
        throw new AdapterException(
            "%s is on %s but %s is on %s; all experts are on layers of the same names"
                .formatted(name, leaves, one, leaves(adapters, one)));
      }
    }
  }

  private static List<String> shapes(String name, String path, Adapter adapter) {
    if (adapter.getClass() != LoraLinear.class) {
      throw new UnsupportedAdapterException(
          "%s adapts %s, a %s, but a router is for Linear and Conv1D; take it out of target_modules"
              .formatted(name, path, adapter.layer().typeName()));
    }
    var lora = (LoraLinear) adapter;
    return List.of(Arrays.toString(lora.a().shape()), Arrays.toString(lora.b().shape()));
  }

  private static Set<String> leaves(Adapters adapters, String name) {
    var leaves = new TreeSet<String>();
    adapters
        .on(name)
        .keySet()
        .forEach(path -> leaves.add(path.substring(path.lastIndexOf('.') + 1)));
    return leaves;
  }

  /**
   * One prototype for each expert and layer, by the layer's path: [E, in]. Takes general knowledge
   * out of the experts first, as a forward does.
   */
  public Map<String, Tensor> prototypes() {
    var all = new LinkedHashMap<String, Tensor>();
    routers().forEach((path, router) -> all.put(path, router.prototypes()));
    return all;
  }

  /**
   * Keeps the experts' factors as they are before general knowledge is taken out of them, for
   * {@link #restoreOriginals}: the memory of the experts once more.
   *
   * @throws IllegalStateException if that has happened already
   */
  public Arrow keepOriginals() {
    routers().values().forEach(ArrowLinear::keepOriginals);
    return this;
  }

  /**
   * Gives the experts back the factors that they had before general knowledge was taken out, such
   * as to save them. The next forward through the router takes it out again.
   */
  public void restoreOriginals() {
    routers().values().forEach(ArrowLinear::restoreOriginals);
  }

  private Map<String, ArrowLinear> routers() {
    var routers = new LinkedHashMap<String, ArrowLinear>();
    adapters
        .on(ROUTER)
        .forEach(
            (path, adapter) -> {
              if (adapter instanceof ArrowLinear router) {
                routers.put(path, router);
              }
            });
    return routers;
  }
}
