package espalier.adapters.lora;

import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.function.Supplier;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * MonteCLoRA: each training forward replaces A by a mixture of noisy copies of it, whose spread and
 * weights are learned; afterwards it is plain LoRA.
 *
 * <pre>
 *     A' = Σₙ wₙ (A + s·√C zₙᵀ)      C = diag(max(1e-3, diag(D Z Dᵀ)))      D = diag(exp(std_prior))
 *     w = softmax(√σ² ⊙ z + μ)       α = exp(expert_weights_prior)      μ = log α - mean log α
 * </pre>
 *
 * <p>The noise is drawn anew for each forward and not kept in advance: a run that is resumed draws
 * what it would have drawn, and nothing of the size of many factors waits in memory.
 *
 * @see <a href="https://arxiv.org/abs/2411.04358">Robust and Efficient Fine-tuning of LLMs with
 *     Bayesian Reparameterization of Low-Rank Adaptation</a>
 */
public final class MontecloraLinear extends LoraLinear {

  private static final Logger LOG = System.getLogger("espalier.adapters");
  private static final String PREFIX = "lora_monteclora_sampler.";

  private final LoraVariant.Monteclora settings;
  private final MontecloraPrior prior;
  private final Tensor covariance; // C of the last draw, [r, r]
  private final Tensor weights; // w of the last draw, [samples]
  private @Nullable Supplier<MontecloraNoise> source;
  private @Nullable Tensor wishart; // Z of the last draw, [r, r]
  private @Nullable Tensor dirichlet; // z of the last draw, [samples]
  private boolean warned;

  MontecloraLinear(
      LoraConfig config, LoraVariant.Monteclora settings, Linear layer, String path, Init init) {
    super(config, layer, path, LoraStart.of(config, layer, path, init));
    this.settings = settings;
    long r = config.rankAt(path);
    long n = settings.samples();
    prior =
        new MontecloraPrior(
            settings,
            parameter(PREFIX + "std_prior", init.uniformBetween(0, 1, r)),
            parameter(PREFIX + "expert_weights_prior", init.uniformBetween(0, 1, n)));
    covariance = constant(PREFIX + "gaussian_var_prior", init.zero(r).add(one()).diag());
    weights = constant(PREFIX + "expert_weights", init.zero(n).add(new Scalar(1.0 / n)));
  }

  /** Takes the noise from elsewhere than the run's random state. */
  public void drawFrom(Supplier<MontecloraNoise> noise) {
    source = noise;
  }

  /** The weights of the last mixture, [samples]. */
  public Tensor weights() {
    return weights;
  }

  @Override
  Tensor hidden(Tensor rows) {
    return training() ? product(rows, sampled()) : super.hidden(rows);
  }

  private Tensor sampled() {
    Supplier<MontecloraNoise> given = source;
    MontecloraNoise noise =
        given == null
            ? MontecloraNoise.drawn(settings.samples(), layer().in(), a().size(0))
            : given.get();
    Tensor c = prior.variances(noise.wishart().to(a().scalar_type().intern()));
    Tensor w = prior.weights(noise.dirichlet().to(a().scalar_type().intern()));
    remember(noise, c, w);
    Tensor spread =
        noise
            .normal()
            .to(a().scalar_type().intern())
            .mul(c.sqrt())
            .nan_to_num(new DoubleOptional(1e-3), new DoubleOptional(), new DoubleOptional());
    Tensor mixed =
        w.matmul(spread.reshape(settings.samples(), -1)).view(layer().in(), -1).t(); // [r, in]
    if (mixed.isnan().any().item_bool()) {
      if (!warned) {
        LOG.log(
            Level.WARNING,
            "the noise of MonteCLoRA is not a number; A is used without it. Lower learning_rate");
        warned = true;
      }
      return a();
    }
    return a().mul(w.sum()).add(times(mixed, settings.sampleScaler()));
  }

  /** Keeps what the penalty needs, small as it is, beyond the scope of this forward. */
  private void remember(MontecloraNoise noise, Tensor c, Tensor w) {
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      forget();
      wishart = Scope.own(noise.wishart());
      dirichlet = Scope.own(noise.dirichlet());
      covariance.set_data(c.detach().diag());
      weights.set_data(w.detach());
    }
  }

  /**
   * The divergence of what is learned from its priors, weighted as the config says: a scalar with a
   * graph. Zero in evaluation.
   */
  public Tensor divergence() {
    if (!training()) {
      return a().new_zeros();
    }
    Tensor z = wishart;
    Tensor c = z == null ? covariance.diagonal() : prior.variances(z);
    return times(prior.divergence(c), settings.klLossWeight());
  }

  /** Σ w² of the last mixture if the config asks for it, else zero: a scalar with a graph. */
  public Tensor entropy() {
    if (!training() || !settings.entropy()) {
      return a().new_zeros();
    }
    Tensor z = dirichlet;
    return (z == null ? weights : prior.weights(z)).square().sum();
  }

  // Computed again from the last draw and not kept from the forward, whose graph may be gone or,
  // with gradient checkpointing, never was.
  Tensor penalty() {
    return divergence().add(entropy());
  }

  private void forget() {
    if (wishart != null) {
      wishart.close();
      wishart = null;
    }
    if (dirichlet != null) {
      dirichlet.close();
      dirichlet = null;
    }
  }

  @Override
  public void close() {
    super.close();
    forget();
  }
}
