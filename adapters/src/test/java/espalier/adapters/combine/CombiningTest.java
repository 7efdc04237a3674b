package espalier.adapters.combine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraConfigBuilder;
import espalier.adapters.lora.LoraInit;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

final class CombiningTest {

  private static final String Q = "model.layers.0.self_attn.q_proj";

  @RegisterExtension final NativeScope scope = NativeScope.withoutGradients();
  private final Tree model = Tree.decoder(1);
  private final Adapters adapters = Adapters.of(model, Tree.facts());

  @AfterEach
  void close() {
    model.close();
  }

  private static LoraConfigBuilder lora() {
    return LoraConfig.builder()
        .r(2)
        .alpha(6)
        .init(new LoraInit.Unset())
        .targets(Targets.named("q_proj", "v_proj"));
  }

  private void add(String name, LoraConfigBuilder config, long seed) {
    adapters.add(name, config.build(), AttachOptions.seeded(seed));
  }

  private Tensor delta(String name, String path) {
    return Tree.there(adapters.on(name).get(path)).deltaWeight();
  }

  private static void same(Tensor got, Tensor want) {
    assertThat(got.allclose(want, 1e-5, 1e-5, false)).isTrue();
  }

  @ParameterizedTest
  @EnumSource(names = {"CAT", "SVD"})
  void cat_and_svd_of_full_rank_are_the_exact_sum(CombinationType type) {
    add("one", lora(), 1);
    add("b", lora().r(3).rslora(true), 2);

    var report =
        Combining.add(
            adapters,
            List.of("one", "b"),
            List.of(0.7, -1.5),
            "c",
            Combination.of(type).withSvdRank(5));

    for (String path : adapters.on("c").keySet()) {
      Tensor sum = delta("one", path).mul(new Scalar(0.7)).add(delta("b", path), new Scalar(-1.5));
      same(delta("c", path), sum);
    }
    assertThat(report.largestError()).isLessThan(1e-5);
    assertThat(((LoraConfig) adapters.config("c")).rslora()).isFalse();
  }

  @ParameterizedTest
  @EnumSource
  void one_source_of_weight_one_is_itself(CombinationType type) {
    add("one", lora().rslora(true).targets(Targets.named("q_proj", "k_proj")).loraBias(true), 1);

    Combining.add(adapters, List.of("one"), List.of(1.0), "c", Combination.of(type));

    for (String path : adapters.on("c").keySet()) {
      same(delta("c", path), delta("one", path));
      same(
          Tree.there(Tree.there(adapters.on("c").get(path)).deltaBias()),
          Tree.there(Tree.there(adapters.on("one").get(path)).deltaBias()));
    }
  }

  @Test
  void an_adapter_minus_itself_is_nothing() {
    add("one", lora(), 1);

    var report =
        Combining.add(
            adapters,
            List.of("one", "one"),
            List.of(1.0, -1.0),
            "c",
            Combination.of(CombinationType.CAT));

    assertThat(delta("c", Q).abs().max().item_double()).isLessThan(1e-6);
    assertThat(report.largestError()).isZero();
  }

  @Test
  void the_result_is_neither_active_nor_trainable_and_the_base_stays_as_it_was() {
    adapters.attach("one", lora().build(), 1);
    add("b", lora(), 2);
    Tensor before = model.at(Q).weight().clone();

    var report =
        Combining.add(
            adapters,
            List.of("one", "b"),
            List.of(1.0, 1.0),
            "c",
            Combination.of(CombinationType.LINEAR));

    assertThat(adapters.active()).containsExactly("one");
    assertThat(Tree.there(adapters.on("c").get(Q)).trainable()).isFalse();
    assertThat(model.at(Q).weight().equal(before)).isTrue();
    assertThat(report.largestError()).isGreaterThan(0.1);
    assertThat(report.warnings()).anyMatch(warning -> warning.contains("cat"));
  }

  @Test
  void a_model_in_training_stays_in_training() {
    adapters.attach("one", lora().build(), 1);
    model.train(true);

    Combining.add(adapters, List.of("one"), List.of(1.0), "c", Combination.of(CombinationType.CAT));

    assertThat(model.training()).isTrue();
    assertThat(Tree.there(adapters.on("one").get(Q)).training()).isTrue();
  }

  @Test
  void the_mean_of_dare_over_seeds_is_the_sum_of_the_updates() {
    add("one", lora(), 1);
    add("b", lora(), 2);
    Tensor sum = delta("one", Q).add(delta("b", Q));
    Tensor mean = sum.new_zeros(sum.sizes());
    Combination how =
        Combination.of(CombinationType.DARE_LINEAR_SVD, 0.7).withSvdRank(8); // loses nothing

    for (int seed = 0; seed < 200; seed++) {
      Combining.add(adapters, List.of("one", "b"), List.of(1.0, 1.0), "c", how, Masks.seeded(seed));
      mean.add_(delta("c", Q), new Scalar(1 / 200.0));
      adapters.delete("c");
    }

    double deviation = mean.sub(sum).norm().item_double() / sum.norm().item_double();
    // the noise of a mean of 200: sqrt((1 - 0.7) / 0.7 / 200) of the sources' norm
    assertThat(deviation).isBetween(1e-4, 0.12);
  }

  @Test
  void equal_magnitudes_are_kept_from_the_front() {
    Tensor tensor = Tensor.create(1f, -1f, 2f, 1f, 0f);

    Tensor kept = Sparsity.largest(tensor, 0.6);

    assertThat(kept.equal(Tensor.create(1f, -1f, 2f, 0f, 0f))).isTrue();
  }

  @Test
  void wrong_requests_are_refused_and_change_nothing() {
    add("one", lora(), 1);
    add("b", lora().r(3), 2);
    List<String> both = List.of("one", "b");
    Map<CombinationType, String> wrong =
        Map.of(
            CombinationType.LINEAR, "the adapters have the ranks [2, 3] but linear needs equal",
            CombinationType.TIES, "ties needs density");

    wrong.forEach(
        (type, message) ->
            assertThatThrownBy(
                    () ->
                        Combining.add(adapters, both, List.of(1.0, 1.0), "c", Combination.of(type)))
                .isInstanceOf(ConfigException.class)
                .hasMessageStartingWith(message));
    assertThatThrownBy(
            () ->
                Combining.add(
                    adapters, both, List.of(1.0), "c", Combination.of(CombinationType.CAT)))
        .isInstanceOf(ConfigException.class);
    assertThatThrownBy(
            () ->
                Combining.add(
                    adapters, both, List.of(1.0, 1.0), "one", Combination.of(CombinationType.CAT)))
        .isInstanceOf(AdapterException.class);
    assertThatThrownBy(() -> Combination.of(CombinationType.DARE_TIES, 0).with(2))
        .isInstanceOf(ConfigException.class);
    assertThatThrownBy(() -> Combination.of(CombinationType.TIES, -0.5))
        .isInstanceOf(ConfigException.class);
    assertThat(adapters.names()).containsExactly("one", "b");
  }
}
