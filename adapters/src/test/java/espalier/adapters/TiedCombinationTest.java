package espalier.adapters;

import static espalier.adapters.TiedModel.EMBEDDING;
import static espalier.adapters.TiedModel.HEAD;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.combine.Combination;
import espalier.adapters.combine.CombinationType;
import espalier.adapters.combine.Combined;
import espalier.adapters.combine.Combining;
import espalier.adapters.combine.IntruderOptions;
import espalier.adapters.combine.IntruderReport;
import espalier.adapters.combine.Intruders;
import espalier.adapters.combine.WeightedAdapter;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraConfigBuilder;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Scope;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What is made out of adapters on an embedding and a head of one weight. */
final class TiedCombinationTest {

  private static final IntruderOptions OPTIONS =
      IntruderOptions.defaults().withTopK(4).withEpsilon(0.95);

  private final Scope scope = Scope.open();
  private final NoGradGuard noGradients = new NoGradGuard();
  private final TiedModel model = TiedModel.of(ScalarType.Float);
  private final Adapters adapters = model.adapters;

  @AfterEach
  void close() {
    model.close();
    noGradients.close();
    scope.close();
  }

  private static LoraConfigBuilder lora(boolean ensured) {
    return LoraConfig.builder()
        .r(2)
        .alpha(6)
        .init(new LoraInit.Unset())
        .targets(Targets.named("embed_tokens", "q_proj"))
        .ensureWeightTying(ensured);
  }

  private void add(String name, LoraConfigBuilder config, long seed) {
    adapters.add(name, config.build(), AttachOptions.seeded(seed));
  }

  private Tensor delta(String name, String path) {
    return there(adapters.on(name).get(path)).deltaWeight();
  }

  private WeightedAdapter file(String name, double weight) {
    return new WeightedAdapter(
        name, adapters.config(name), adapters.state(name, SaveEmbeddings.NO), weight);
  }

  @ParameterizedTest
  @EnumSource
  void a_combination_of_tied_adapters_is_tied_and_can_be_loaded(CombinationType type) {
    add("one", lora(true), 1);
    add("two", lora(true), 2);
    Combination how = Combination.of(type).withDensity(0.5);

    Combined combined = Combining.combine(List.of(file("one", 0.7), file("two", -1.5)), how);
    adapters.load(
        "both", combined.config(), combined.tensors(), LoadOptions.defaults().withStrict(true));

    Tensor change = delta("both", EMBEDDING);
    assertThat(change.equal(delta("both", HEAD))).isTrue();
    assertThat(change.abs().max().item_double()).isPositive();
    assertThat(combined.report().errors()).containsKeys(EMBEDDING, HEAD);
    if (type == CombinationType.CAT) {
      Tensor sum =
          delta("one", HEAD).mul(new Scalar(0.7)).add(delta("two", HEAD), new Scalar(-1.5));
      assertThat(change.allclose(sum, 1e-5, 1e-5, false)).isTrue();
    }
  }

  @Test
  void a_tied_adapter_and_one_that_trains_a_side_alone_are_not_combined() {
    add("one", lora(true), 1);
    add("two", lora(false), 2);

    assertThatThrownBy(
            () ->
                Combining.add(
                    adapters,
                    List.of("one", "two"),
                    List.of(1.0, 1.0),
                    "both",
                    Combination.of(CombinationType.CAT)))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "two trains model.embed_tokens and lm_head apart but another adapter ties them with"
                + " ensure_weight_tying; combine adapters that agree on it");
    assertThat(adapters.names()).containsExactly("one", "two");
  }

  @Test
  void reducing_intruders_of_a_tied_adapter_changes_both_sides_alike() {
    add("one", lora(true), 1);
    Tensor before = delta("one", HEAD);

    IntruderReport report = Intruders.reduce(adapters, "one", "reduced", OPTIONS);

    assertThat(report.intruders().get(EMBEDDING)).isPositive();
    assertThat(report.intruders().get(HEAD)).isEqualTo(report.intruders().get(EMBEDDING));
    assertThat(delta("reduced", HEAD).equal(delta("reduced", EMBEDDING))).isTrue();
    assertThat(delta("reduced", HEAD).allclose(before, 1e-3, 1e-3, false)).isFalse();
  }

  @Test
  void reducing_intruders_copies_trained_token_rows() {
    var tokens = new TokenRows.OfInput(List.of(1, 5));
    add("one", lora(true).targets(Targets.named("q_proj")).tokens(tokens), 1);
    Tensor rows = there(adapters.on("one").get(EMBEDDING)).deltaWeight();

    IntruderReport report = Intruders.reduce(adapters, "one", "reduced", OPTIONS);

    assertThat(report.intruders()).containsOnlyKeys("model.q_proj");
    assertThat(delta("reduced", EMBEDDING).equal(rows)).isTrue();
  }
}
