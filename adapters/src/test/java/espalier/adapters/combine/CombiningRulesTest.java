package espalier.adapters.combine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.Modules;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraConfigBuilder;
import espalier.adapters.lora.LoraInit;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** What may be combined, on which layers, with which rank, and what density means at its ends. */
final class CombiningRulesTest {

  private static final String Q = "model.layers.0.self_attn.q_proj";
  private static final String K = "model.layers.0.self_attn.k_proj";

  @RegisterExtension final NativeScope scope = NativeScope.withoutGradients();
  private final Tree model = Tree.experts(1);
  private final Adapters adapters = Adapters.of(model, Tree.facts());

  @AfterEach
  void close() {
    model.close();
  }

  private static LoraConfigBuilder lora(String... names) {
    return LoraConfig.builder()
        .r(2)
        .alpha(6)
        .init(new LoraInit.Unset())
        .targets(Targets.named(names));
  }

  private void add(String name, LoraConfigBuilder config, long seed) {
    adapters.add(name, config.build(), AttachOptions.seeded(seed));
  }

  private CombinationReport combine(Combination how) {
    return Combining.add(adapters, List.of("one", "b"), List.of(0.5, -2.0), "c", how);
  }

  private Tensor delta(String name, String path) {
    return Tree.there(adapters.on(name).get(path)).deltaWeight();
  }

  private LoraConfig combined() {
    return (LoraConfig) adapters.config("c");
  }

  private static void same(Tensor got, Tensor want) {
    assertThat(got.allclose(want, 1e-5, 1e-5, false)).isTrue();
  }

  // ---- refusals

  static Stream<Arguments> refused() {
    return Stream.of(
        Arguments.of(List.of(), List.of(), "c", ConfigException.class, "no adapter was named"),
        Arguments.of(
            List.of("one", "x"), List.of(1.0, 1.0), "c", AdapterException.class, "no adapter x"),
        Arguments.of(
            List.of("one"), List.of(1.0, 2.0), "c", ConfigException.class, "2 weights for the 1"),
        Arguments.of(
            List.of("one", "b"), List.of(1.0), "c", ConfigException.class, "1 weights for the 2"),
        Arguments.of(
            List.of("one"), List.of(1.0), "b", AdapterException.class, "b is there already"),
        Arguments.of(
            List.of("one", "regex"),
            List.of(1.0, 1.0),
            "c",
            ConfigException.class,
            "target_modules is a list in some"),
        Arguments.of(
            List.of("saves", "saves too"),
            List.of(1.0, 1.0),
            "c",
            AdapterException.class,
            "both have their own lm_head"),
        Arguments.of(
            List.of("one", "experts"),
            List.of(1.0, 1.0),
            "c",
            UnsupportedAdapterException.class,
            "experts has target_parameters"));
  }

  @ParameterizedTest
  @MethodSource("refused")
  void what_can_not_be_combined_is_refused_and_leaves_nothing(
      List<String> names,
      List<Double> weights,
      String newName,
      Class<? extends Exception> kind,
      String message) {
    add("one", lora("q_proj"), 1);
    add("b", lora("q_proj"), 2);
    add("regex", lora("q_proj").targets(Targets.matching(".*q_proj")), 3);
    add("saves", lora("q_proj").targets(Targets.named("q_proj").saving("lm_head")), 4);
    add("saves too", lora("q_proj").targets(Targets.named("q_proj").saving("lm_head")), 5);
    add(
        "experts",
        lora("q_proj").targets(Targets.named().withParameters(List.of("experts.down_proj"))),
        6);
    List<String> before = adapters.names();

    assertThatThrownBy(
            () ->
                Combining.add(
                    adapters, names, weights, newName, Combination.of(CombinationType.CAT)))
        .isInstanceOf(kind)
        .hasMessageContaining(message);

    assertThat(adapters.names()).isEqualTo(before);
  }

  @Test
  void words_that_are_not_known_are_refused_with_those_that_are() {
    assertThatThrownBy(() -> CombinationType.of("sum"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("[linear, cat, svd, ties,");
    assertThatThrownBy(() -> MajoritySign.of("most"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("most");
    Combination any = Combination.of(CombinationType.SVD).withSvdFullMatrices(false);
    assertThatThrownBy(() -> any.withSvdDriver("qr"))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("gesvd, gesvdj and gesvda");
  }

  // ---- targets

  @Test
  void lists_of_targets_are_united() {
    add("one", lora("q_proj", "v_proj"), 1);
    add("b", lora("k_proj", "v_proj"), 2);

    combine(Combination.of(CombinationType.CAT));

    assertThat(combined().targets().modules())
        .isEqualTo(new Modules.Named(List.of("k_proj", "q_proj", "v_proj")));
  }

  @Test
  void expressions_of_targets_are_joined() {
    add("one", lora().targets(Targets.matching(".*q_proj")), 1);
    add("b", lora().targets(Targets.matching(".*\\.(k|v)_proj")), 2);

    combine(Combination.of(CombinationType.SVD));

    assertThat(combined().targets().modules())
        .isEqualTo(new Modules.Matching("(.*q_proj)|(.*\\.(k|v)_proj)"));
    assertThat(adapters.on("c").keySet())
        .allMatch(path -> path.matches(".*\\.(q|k|v)_proj"))
        .hasSize(3);
  }

  // ---- ranks

  @ParameterizedTest
  @CsvSource({
    "linear, 5, 5", "ties, 5, 5", "dare_linear, 5, 5", "dare_ties, 5, 5", "magnitude_prune, 5, 5",
    "cat, 5, 10", "cat, 3, 8", "svd, 3, 5", "ties_svd, 3, 5", "dare_linear_svd, 3, 5",
    "dare_ties_svd, 5, 5", "magnitude_prune_svd, 3, 5"
  })
  void the_rank_is_that_of_all_their_sum_or_the_largest(String type, int other, int rank) {
    add("one", lora("q_proj", "k_proj").r(2).rankPattern(Map.of("q_proj", 5, "k_proj", 5)), 1);
    add("b", lora("q_proj", "k_proj").r(other), 2);

    Combination how = Combination.of(CombinationType.of(type));
    combine(
        type.equals("cat") || type.equals("svd") || type.equals("linear")
            ? how
            : how.withDensity(0.5));

    assertThat(combined().r()).isEqualTo(rank);
    assertThat(combined().alpha()).isEqualTo(rank);
    assertThat(combined().rankPattern().isEmpty()).isTrue();
  }

  @Test
  void full_matrices_and_drivers_change_no_bit_of_an_svd() {
    add("one", lora("q_proj"), 1);
    add("b", lora("q_proj"), 2);
    Combination usual = Combination.of(CombinationType.SVD).withSvdRank(3);
    combine(usual);
    var want = new LinkedHashMap<String, Tensor>();
    adapters.state("c").forEach((key, tensor) -> want.put(key, tensor.clone()));

    for (String driver : new String[] {"gesvd", "gesvdj", "gesvda"}) {
      adapters.delete("c");
      combine(usual.withSvdFullMatrices(false).withSvdDriver(driver));

      Map<String, Tensor> got = adapters.state("c");
      assertThat(got.keySet()).isEqualTo(want.keySet());
      got.forEach((key, tensor) -> assertThat(tensor.equal(Tree.there(want.get(key)))).isTrue());
    }
  }

  @Test
  void an_svd_has_the_rank_that_is_asked_for() {
    add("one", lora("q_proj"), 1);
    add("b", lora("q_proj"), 2);

    combine(Combination.of(CombinationType.SVD).withSvdRank(7));

    assertThat(combined().r()).isEqualTo(7);
  }

  // ---- layers that only some adapt, and ranks by layer

  @ParameterizedTest
  @CsvSource({"cat", "svd"})
  void a_layer_that_one_source_adapts_gets_that_source_alone(String type) {
    add("one", lora("q_proj", "k_proj"), 1);
    add("b", lora("q_proj").r(3).rslora(true), 2);

    combine(Combination.of(CombinationType.of(type)).withSvdRank(5));

    same(delta("c", K), delta("one", K).mul(new Scalar(0.5)));
    same(delta("c", Q), delta("one", Q).mul(new Scalar(0.5)).add(delta("b", Q), new Scalar(-2)));
  }

  @Test
  void side_by_side_a_smaller_rank_is_filled_up_with_zeros() {
    add("one", lora("q_proj", "k_proj").r(4).rankPattern(Map.of("k_proj", 1)), 1);
    add("b", lora("q_proj", "k_proj").r(2), 2);

    combine(Combination.of(CombinationType.CAT));

    Map<String, Tensor> state = Tree.there(adapters.on("c").get(K)).state();
    assertThat(Tree.there(state.get("lora_A.weight")).size(0)).isEqualTo(6);
    assertThat(Tree.there(state.get("lora_A.weight")).narrow(0, 3, 3).count_nonzero().item_long())
        .isZero();
    assertThat(Tree.there(state.get("lora_B.weight")).narrow(1, 3, 3).count_nonzero().item_long())
        .isZero();
    same(delta("c", K), delta("one", K).mul(new Scalar(0.5)).add(delta("b", K), new Scalar(-2)));
  }

  @Test
  void factors_of_unequal_ranks_are_refused_by_layer() {
    add("one", lora("q_proj", "k_proj").r(4).rankPattern(Map.of("k_proj", 1)), 1);
    add("b", lora("q_proj", "k_proj").r(4), 2);

    ConfigException e =
        catchThrowableOfType(
            ConfigException.class, () -> combine(Combination.of(CombinationType.LINEAR)));

    assertThat(e)
        .hasMessageStartingWith(K + ": one has rank 1 and b has rank 4")
        .hasMessageEndingWith("use cat or svd");
    assertThat(adapters.names()).containsExactly("one", "b");
  }

  // ---- density

  @ParameterizedTest
  @CsvSource({
    "ties",
    "ties_svd",
    "dare_linear",
    "dare_linear_svd",
    "dare_ties",
    "dare_ties_svd",
    "magnitude_prune",
    "magnitude_prune_svd"
  })
  void a_type_that_prunes_needs_a_density_that_is_not_negative(String type) {
    add("one", lora("q_proj"), 1);
    add("b", lora("q_proj"), 2);
    Combination how = Combination.of(CombinationType.of(type));

    assertThatThrownBy(() -> combine(how))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining(type + " needs density");
    assertThatThrownBy(() -> how.withDensity(-0.1))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("density is -0.1");
    if (type.startsWith("dare")) {
      assertThatThrownBy(() -> combine(how.withDensity(0.0)))
          .isInstanceOf(ConfigException.class)
          .hasMessageContaining("density is 0 but " + type + " divides by it");
    } else {
      combine(how.withDensity(0.0));
      assertThat(delta("c", Q).count_nonzero().item_long()).isZero();
    }
  }

  @ParameterizedTest
  @CsvSource({
    "dare_linear, linear",
    "magnitude_prune, linear",
    "dare_linear_svd, svd",
    "magnitude_prune_svd, svd"
  })
  void a_density_of_one_or_more_prunes_nothing_and_is_told(String type, String unpruned) {
    add("one", lora("q_proj"), 1);
    add("b", lora("q_proj"), 2);
    combine(Combination.of(CombinationType.of(unpruned)));
    Tensor want = delta("c", Q).clone();
    adapters.delete("c");

    var report = combine(Combination.of(CombinationType.of(type), 1.5));

    same(delta("c", Q), want);
    assertThat(report.warnings()).contains("density is 1.5, so nothing is pruned");
  }

  @Test
  void a_density_where_nothing_is_pruned_is_told() {
    add("one", lora("q_proj"), 1);
    add("b", lora("q_proj"), 2);

    var report = combine(Combination.of(CombinationType.CAT, 0.5));

    assertThat(report.warnings()).contains("density is 0.5 but cat prunes nothing");
  }
}
