package espalier.adapters.lora.starts;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.AdapterContents;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.InitSource;
import espalier.adapters.LoadOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.SaveStart;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.TensorCache;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Scope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Starts that came from data are saved as plain LoRA, since no loading could repeat them. */
class SavedPlainlyTest {

  private static final ModelFacts FACTS = ModelFacts.of("chain");

  private final Tensor x = new Tree.Draw(2).normal(5, 7, 8);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static LoraConfig config(String start) {
    LoraInit init =
        start.equals("corda")
            ? new LoraInit.Corda(null, null, false, false, false, true)
            : LoraInit.LoraGa.defaults();
    return LoraConfig.builder().r(2).alpha(3).targets(Targets.named("q", "o")).init(init).build();
  }

  private Prepared prepare(Chain chain, LoraConfig config) {
    return config.init() instanceof LoraInit.Corda
        ? Corda.preprocess(
            chain.tree, FACTS, config, () -> chain.forward(x).close(), TensorCache.none())
        : LoraGa.estimateGradients(
            chain.tree,
            FACTS,
            config,
            () -> {
              try (var _ = Scope.graph()) {
                chain.forward(x).square().mean().backward();
              }
            });
  }

  /** Attaches with the start, pretends to train, and returns the adapters. */
  private Adapters trained(Chain chain, LoraConfig config) {
    Adapters adapters = Adapters.of(chain.tree, FACTS);
    try (Prepared found = prepare(chain, config)) {
      adapters.attach(
          "default", config, AttachOptions.of(InitSource.seeded(3).withPrepared(found.values())));
    }
    try (var _ = new NoGradGuard()) {
      adapters.parameters().values().forEach(p -> p.add_(p.roll(1).mul(new Scalar(0.3))));
    }
    return adapters;
  }

  private Tensor onUntouchedBase(AdapterContents contents) {
    Chain other = Chain.float32();
    Adapters adapters = Adapters.of(other.tree, FACTS);
    adapters.load("default", contents.config(), contents.tensors(), LoadOptions.defaults());
    return other.forward(x).detach();
  }

  @ParameterizedTest
  @ValueSource(strings = {"corda", "lora_ga"})
  void what_is_saved_gives_the_trained_model_on_the_untouched_base(String start) {
    Chain chain = Chain.float32();
    Adapters adapters = trained(chain, config(start));
    Tensor want = chain.forward(x).detach();

    AdapterContents saved = adapters.contents("default", SaveStart.AUTO);

    var plain = (LoraConfig) saved.config();
    assertThat(plain.init()).isEqualTo(new LoraInit.Uniform());
    assertThat(plain.r()).isEqualTo(4);
    assertThat(plain.alpha()).isEqualTo(6);
    assertThat(Chain.relative(onUntouchedBase(saved), want)).isLessThan(1e-5);
  }

  @ParameterizedTest
  @ValueSource(strings = {"corda", "lora_ga"})
  void the_factors_alone_as_the_reference_saves_them_would_give_another(String start) {
    Chain chain = Chain.float32();
    LoraConfig config = config(start);
    Adapters adapters = trained(chain, config);
    Tensor want = chain.forward(x).detach();

    AdapterContents raw = adapters.contents("default", SaveStart.AS_TRAINED);
    LoraConfig unaware =
        ((LoraConfig) raw.config()).toBuilder().init(new LoraInit.Uniform()).build();

    assertThat(((LoraConfig) raw.config()).init()).isEqualTo(config.init());
    assertThat(raw.initial()).isNotEmpty();
    Tensor wrong = onUntouchedBase(new AdapterContents(unaware, raw.tensors()));
    assertThat(Chain.relative(wrong, want)).isGreaterThan(0.01);
  }
}
