package espalier.adapters.lora.starts;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.Attached;
import espalier.adapters.ConfigException;
import espalier.adapters.InitSource;
import espalier.adapters.ModelFacts;
import espalier.adapters.Modules;
import espalier.adapters.TargetException;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeSet;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;

/**
 * Finds the principal components that EVA starts from, and shares the ranks out by the variance
 * that they explain.
 *
 * <pre>{@code
 * adapters.attach("default", config, 42);                          // starts plainly
 * Eva.initialise(adapters, "default", batches, EvaOptions.defaults(), InitSource.seeded(42));
 * }</pre>
 *
 * @see <a href="https://arxiv.org/abs/2410.07170">EVA: Explained Variance Adaptation</a>
 */
public final class Eva {

  /** From here on a ratio can mean nothing but: as many components as there are. */
  private static final double UNBOUNDED_RHO = 1000;

  private static final System.Logger LOG = System.getLogger("espalier.adapters");

  private Eva() {}

  /**
   * The components of each linear target, [rank, in] with the rank that it won, 0 included. Runs
   * the model without gradients, in evaluation mode, as it is: turn adapters off before.
   *
   * @param data batches, which are gone through again and again until the components stand still
   * @throws ConfigException if the config's start is not EVA, there is no batch, or a layer has
   *     fewer features than components are asked for
   * @throws TargetException if none of the targets is a linear layer
   * @throws IllegalStateException if a target got no input
   */
  public static Prepared compute(
      Layer model,
      ModelFacts facts,
      LoraConfig config,
      Iterable<EvaBatch> data,
      EvaOptions options) {
    LoraInit.Eva eva = settings(config);
    Map<String, Linear> layers = TargetLayers.of(model, facts, config).linear();
    if (layers.isEmpty()) {
      throw new TargetException(
          "none of the targets is a linear layer, which init_lora_weights eva is for; name linear"
              + " layers in target_modules");
    }
    var strangers = new TreeSet<>(options.rowsOf().keySet());
    strangers.removeAll(layers.keySet());
    if (!strangers.isEmpty()) {
      throw new ConfigException(
          "rows are given for %s but there are no such targets; the first target is %s"
              .formatted(strangers, layers.keySet().iterator().next()));
    }
    double rho = eva.rho();
    if (rho > UNBOUNDED_RHO) {
      rho = (double) Math.max(1, TargetLayers.widest(model) / config.r());
    }
    var counts = new LinkedHashMap<String, Integer>();
    var ranks = new LinkedHashMap<String, Integer>();
    for (String path : layers.keySet()) {
      int r = config.rankAt(path);
      ranks.put(path, r);
      counts.put(path, (int) Math.rint(r * rho));
    }
    boolean training = model.training();
    try (var run = new EvaRun(layers, eva, options, ranks);
        var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      model.train(false);
      return run.run(counts, data);
    } finally {
      model.train(training);
    }
  }

  private static LoraInit.Eva settings(LoraConfig config) {
    if (config.init() instanceof LoraInit.Eva eva) {
      return eva;
    }
    throw new ConfigException(
        "components are for init_lora_weights eva with eva_config but the config starts otherwise;"
            + " set both");
  }

  /**
   * The config with the ranks that were won written out: {@code target_modules} names the layers
   * that are left, {@code rank_pattern} and {@code alpha_pattern} what differs from r and
   * lora_alpha.
   *
   * @param components [rank, in] by path; layers that are targets and have none keep their rank
   */
  public static LoraConfig redistributed(
      Layer model, ModelFacts facts, LoraConfig config, Map<String, Tensor> components) {
    LoraInit.Eva eva = settings(config);
    TargetLayers targets = TargetLayers.of(model, facts, config);
    var paths = new ArrayList<String>();
    var ranks = new LinkedHashMap<String, Integer>();
    var alphas = new LinkedHashMap<String, Double>();
    var all = new ArrayList<>(targets.linear().keySet());
    all.addAll(targets.notLinear());
    for (String path : all) {
      int before = config.rankAt(path);
      Tensor found = components.get(path);
      int rank = found == null ? before : (int) found.size(0);
      if (rank == 0) {
        continue;
      }
      double alpha = config.alphaPattern().at(path, config.alpha());
      if (eva.adjustScaling() && rank != before) {
        alpha *= (double) rank / before;
      }
      if (rank != config.r()) {
        ranks.put(path, rank);
      }
      if (alpha != config.alpha()) {
        alphas.put(path, alpha);
      }
      paths.add(path);
    }
    paths.removeAll(targets.parameters());
    return config.toBuilder()
        .targets(config.targets().withModules(new Modules.Named(paths)))
        .rankPattern(ranks)
        .alphaPattern(alphas)
        .build();
  }

  /**
   * Computes components for an adapter that was attached with {@code init_lora_weights: eva}, and
   * starts it from them.
   *
   * @param init where the first values of layers without components are drawn from
   * @return what is attached now
   * @throws IllegalStateException if the model has no adapter, or several are active
   * @throws ConfigException if the adapter's start is not EVA
   */
  public static Attached initialise(
      Adapters adapters,
      String name,
      Iterable<EvaBatch> data,
      EvaOptions options,
      InitSource init) {
    LoraConfig config = require(adapters, name);
    try (var _ = adapters.disable();
        Prepared found = compute(adapters.model(), adapters.facts(), config, data, options)) {
      return initialise(adapters, name, components(found), init);
    }
  }

  /**
   * Starts an adapter that was attached with {@code init_lora_weights: eva} from given components:
   * it is made anew with the ranks that they have, A the components and B zero, and is active
   * afterwards. Layers whose components have rank 0 lose it.
   *
   * @param components [rank, in] by path, as {@link #compute} gave them
   */
  public static Attached initialise(
      Adapters adapters, String name, Map<String, Tensor> components, InitSource init) {
    LoraConfig before = require(adapters, name);
    LoraConfig after = redistributed(adapters.model(), adapters.facts(), before, components);
    var prepared = new LinkedHashMap<String, Map<String, Tensor>>();
    components.forEach((path, rows) -> prepared.put(path, Map.of(LoraInit.Eva.COMPONENTS, rows)));
    adapters.delete(name);
    try {
      return told(
          adapters.attach(name, after, AttachOptions.of(init.withPrepared(prepared))), components);
    } catch (RuntimeException e) {
      adapters.attach(name, before, AttachOptions.of(init));
      throw e;
    }
  }

  private static Attached told(Attached attached, Map<String, Tensor> components) {
    var plain = new ArrayList<>(attached.modules());
    plain.addAll(attached.parameters());
    plain.removeAll(components.keySet());
    if (plain.isEmpty()) {
      return attached;
    }
    String warning =
        "%s have no components and start as with true; EVA is for linear layers".formatted(plain);
    LOG.log(System.Logger.Level.WARNING, warning);
    var warnings = new ArrayList<>(attached.warnings());
    warnings.add(warning);
    return new Attached(
        attached.name(),
        attached.config(),
        attached.modules(),
        attached.parameters(),
        attached.saved(),
        attached.tokens(),
        warnings);
  }

  /** The components of what {@link #compute} gave, by path. */
  public static Map<String, Tensor> components(Prepared found) {
    var components = new LinkedHashMap<String, Tensor>();
    found
        .values()
        .forEach(
            (path, values) -> {
              Tensor rows = values.get(LoraInit.Eva.COMPONENTS);
              if (rows != null) {
                components.put(path, rows);
              }
            });
    return components;
  }

  private static LoraConfig require(Adapters adapters, String name) {
    if (adapters.names().isEmpty()) {
      throw new IllegalStateException(
          "the model has no adapter to start from components; attach one with init_lora_weights eva"
              + " first");
    }
    if (adapters.active().size() > 1) {
      throw new IllegalStateException(
          "EVA starts one adapter alone but %s are active; activate one of them"
              .formatted(adapters.active()));
    }
    if (adapters.config(name) instanceof LoraConfig config) {
      settings(config);
      return config;
    }
    throw new ConfigException(
        "%s is %s but EVA is a start of LORA".formatted(name, adapters.config(name).peftType()));
  }
}
