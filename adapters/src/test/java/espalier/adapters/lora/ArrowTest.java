package espalier.adapters.lora;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.linalg_svd;

import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.LoadOptions;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Linear;
import espalier.nn.Rows;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class ArrowTest {

  private static final String PATH = "model.layers.0.self_attn.q_proj";

  private final Tree.Draw draw = new Tree.Draw(6);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static Adapters model() {
    return Adapters.of(Tree.decoder(1), Tree.facts());
  }

  private static LoraConfigBuilder plain() {
    return LoraConfig.builder().r(2).alpha(3).targets(Targets.named("q_proj", "v_proj"));
  }

  private Arrow.Expert expert() {
    return expert(plain());
  }

  /** A trained adapter; its update has one direction that is far ahead of the other. */
  private Arrow.Expert expert(LoraConfigBuilder config) {
    Adapters maker = model();
    maker.attach("maker", config.build(), 1);
    var tensors = new LinkedHashMap<String, Tensor>();
    maker
        .state("maker")
        .forEach(
            (key, t) -> {
              Tensor value = draw.normal(t.shape()).mul(new Scalar(0.4));
              if (key.contains("lora_A")) {
                value.select(0, 1).mul_(new Scalar(0.3));
              }
              tensors.put(key, value);
            });
    return new Arrow.Expert(config.build(), tensors);
  }

  private static LoraVariant.Arrow top(int k) {
    return new LoraVariant.Arrow(k, 0.7, false, 42, null, null);
  }

  private static LoraVariant.Arrow subtracting(int k) {
    return new LoraVariant.Arrow(k, 0.7, true, 42, null, null);
  }

  private Arrow create(Adapters adapters, LoraVariant.Arrow settings, int tasks, int generals) {
    return Arrow.create(
        adapters,
        IntStream.range(0, tasks).mapToObj(_ -> expert()).toList(),
        IntStream.range(0, generals).mapToObj(_ -> expert()).toList(),
        settings,
        LoadOptions.defaults());
  }

  private static Linear layer(Adapters adapters) {
    return (Linear) there(adapters.model().find(PATH));
  }

  private static LoraLinear lora(Adapters adapters, String name) {
    return (LoraLinear) there(adapters.on(name).get(PATH));
  }

  private static double gap(Tensor a, Tensor b) {
    return a.to(ScalarType.Double).sub(b.to(ScalarType.Double)).abs().max().item_double();
  }

  // ---- creation

  @Test
  void the_router_is_active_and_the_experts_are_named_in_its_config() {
    Adapters adapters = model();

    create(adapters, subtracting(2), 3, 2);

    assertThat(adapters.names())
        .containsExactly("task_0", "task_1", "task_2", "gks_0", "gks_1", "arrow_router");
    assertThat(adapters.active()).containsExactly("arrow_router");
    assertThat(((LoraConfig) adapters.config("arrow_router")).variant())
        .isEqualTo(
            new LoraVariant.Arrow(
                2,
                0.7,
                true,
                42,
                List.of("task_0", "task_1", "task_2"),
                List.of("gks_0", "gks_1")));
    assertThat(adapters.parameters()).isEmpty();
  }

  @Test
  void what_can_not_be_routed_is_refused_and_the_model_is_as_it_was() {
    Adapters adapters = model();
    adapters.attach("before", plain().build(), 9);
    Tensor x = draw.normal(3, 8);
    Tensor y = layer(adapters).forward(x);

    assertThatThrownBy(() -> create(adapters, top(1), 0, 0))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("no adapter to route to");
    assertThatThrownBy(() -> create(adapters, top(3), 2, 0))
        .isInstanceOf(ConfigException.class)
        .hasMessage("arrow_config.top_k is 3 but there are 2 experts; lower it or load more");
    assertThatThrownBy(() -> create(adapters, subtracting(1), 2, 0))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("use_gks");
    refused(adapters, AdapterException.class, "share rank and shapes", plain().r(3));
    refused(
        adapters,
        AdapterException.class,
        "on layers of the same names",
        plain().targets(Targets.named("q_proj")));
    refused(
        adapters,
        UnsupportedAdapterException.class,
        "a router is for Linear and Conv1D",
        plain().targets(Targets.named("q_proj", "v_proj", "embed_tokens")));
    refused(
        adapters,
        UnsupportedAdapterException.class,
        "plain LoRA only",
        plain().variant(new LoraVariant.Alora(List.of(5))));
    assertThat(adapters.names()).containsExactly("before");
    assertThat(adapters.active()).containsExactly("before");
    assertThat(layer(adapters).forward(x).equal(y)).isTrue();
  }

  private void refused(Adapters adapters, Class<?> type, String why, LoraConfigBuilder second) {
    List<Arrow.Expert> experts = List.of(expert(), expert(second));
    assertThatThrownBy(
            () -> Arrow.create(adapters, experts, List.of(), top(1), LoadOptions.defaults()))
        .isInstanceOf(type)
        .hasMessageContaining(why);
  }

  // ---- prototypes

  @Test
  void a_prototype_is_the_first_right_singular_vector_up_to_its_sign() {
    Adapters adapters = model();
    Arrow arrow = create(adapters, top(1), 3, 0);

    for (int e = 0; e < 3; e++) {
      LoraLinear expert = lora(adapters, "task_" + e);
      Tensor exact = linalg_svd(expert.b().matmul(expert.a())).get2().select(0, 0);
      Tensor found = there(arrow.prototypes().get(PATH)).select(0, e);
      double sign = Math.signum(exact.dot(found).item_double());
      assertThat(gap(found, exact.mul(new Scalar(sign)))).isLessThan(1e-4);
    }
  }

  @Test
  void a_seed_gives_the_same_prototypes_and_none_the_same_but_for_signs() {
    Tensor a = draw.normal(2, 8);
    Tensor b = draw.normal(6, 2);
    a.select(0, 1).mul_(new Scalar(0.1));

    Tensor one = Experts.prototype(a, b, draw.normal(8));
    Tensor other = Experts.prototype(a, b, draw.normal(8));

    assertThat(gap(one.abs(), other.abs())).isLessThan(1e-4);
  }

  // ---- routing

  @Test
  void tokens_go_to_the_experts_whose_prototypes_they_meet() {
    Adapters adapters = model();
    Arrow arrow = create(adapters, top(2), 3, 0);
    adapters.setScale("task_1", 0.5);
    Tensor x = draw.normal(2, 3, 8);

    Tensor y = layer(adapters).forward(x);

    Tensor prototypes = there(arrow.prototypes().get(PATH));
    for (int token = 0; token < 6; token++) {
      Tensor one = x.view(6, 8).select(0, token);
      double[] similar = new double[3];
      for (int e = 0; e < 3; e++) {
        similar[e] = Math.abs(one.dot(prototypes.select(0, e)).item_double());
      }
      double least = Arrays.stream(similar).min().orElseThrow();
      double sum = 0;
      for (double s : similar) {
        sum += s == least ? 0 : Math.exp(s / 0.7);
      }
      Tensor want = layer(adapters).base(one.unsqueeze(0)).squeeze(0);
      for (int e = 0; e < 3; e++) {
        double c = similar[e] == least ? 0 : Math.exp(similar[e] / 0.7) / sum;
        Tensor delta = lora(adapters, "task_" + e).deltaWeight();
        want = want.add(delta.mv(one).mul(new Scalar(c)));
      }
      assertThat(gap(y.view(6, -1).select(0, token), want)).isLessThan(1e-5);
    }
  }

  @Test
  void one_expert_alone_is_that_adapter() {
    Adapters adapters = model();
    create(adapters, top(1), 1, 0);
    Tensor x = draw.normal(2, 3, 8);

    Tensor routed = layer(adapters).forward(x);
    adapters.setActive(List.of("task_0"), true);

    assertThat(gap(routed, layer(adapters).forward(x))).isLessThan(1e-5);
  }

  @ParameterizedTest
  @EnumSource(
      value = ScalarType.class,
      names = {"BFloat16", "Half"})
  void half_precision_routes_too(ScalarType dtype) {
    Linear layer = new Linear(draw.normal(6, 8).to(dtype), draw.normal(6).to(dtype));
    Tree tree = Tree.empty().with("q_proj", layer);
    var adapters = Adapters.of(tree, Tree.facts());
    var config = plain().targets(Targets.named("q_proj")).build();
    List<Arrow.Expert> experts =
        IntStream.range(0, 2)
            .mapToObj(
                _ ->
                    new Arrow.Expert(
                        config,
                        Map.of(
                            "q_proj.lora_A.weight", draw.normal(2, 8),
                            "q_proj.lora_B.weight", draw.normal(6, 2))))
            .toList();

    Arrow.create(adapters, experts, List.of(), top(1), LoadOptions.defaults().withAutocast(false));
    Tensor x = draw.normal(3, 8).to(dtype);
    Tensor y = layer.forward(x);

    assertThat(y.scalar_type().intern()).isEqualTo(dtype);
    assertThat(y.isfinite().all().item_bool()).isTrue();
    assertThat(gap(y, layer.base(x))).isGreaterThan(0.01);
  }

  @Test
  void rows_of_one_batch_may_have_the_router_or_an_expert() {
    Adapters adapters = model();
    create(adapters, top(2), 3, 0);
    Tensor x = draw.normal(3, 4, 8);
    Tensor routed = layer(adapters).forward(x);
    List<String> names = List.of("arrow_router", "task_1", Rows.BASE);

    Tensor mixed = adapters.mixed(names, 3, () -> layer(adapters).forward(x));

    adapters.setActive(List.of("task_1"), true);
    assertThat(gap(mixed.select(0, 0), routed.select(0, 0))).isLessThan(1e-5);
    assertThat(gap(mixed.select(0, 1), layer(adapters).forward(x).select(0, 1))).isLessThan(1e-5);
    assertThat(mixed.select(0, 2).equal(layer(adapters).base(x).select(0, 2))).isTrue();
  }

  // ---- experts that come, learn and go

  @Test
  void an_adapter_that_comes_is_an_expert_and_one_that_goes_is_none() {
    Adapters adapters = model();
    Arrow arrow = create(adapters, top(2), 2, 0);
    Tensor x = draw.normal(5, 8);
    Tensor before = layer(adapters).forward(x);

    Arrow.Expert newcomer = expert();
    adapters.load("poems", newcomer.config(), newcomer.tensors(), LoadOptions.defaults());
    Tensor with = layer(adapters).forward(x);
    long experts = there(arrow.prototypes().get(PATH)).size(0);
    adapters.delete("poems");

    assertThat(experts).isEqualTo(3);
    assertThat(gap(with, before)).isGreaterThan(1e-3);
    assertThat(layer(adapters).forward(x).equal(before)).isTrue();
    adapters.delete("task_0");
    assertThat(there(arrow.prototypes().get(PATH)).size(0)).isOne();
    adapters.delete("task_1");
    assertThatThrownBy(() -> layer(adapters).forward(x))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("no adapter to send tokens to; load [task_0, task_1] first");
  }

  @Test
  void a_newcomer_is_trained_by_itself_and_routed_to_by_what_it_has_learned() {
    Adapters adapters = model();
    Arrow arrow = create(adapters, top(1), 1, 0);
    Arrow.Expert other = expert();
    adapters.load("poems", other.config(), other.tensors(), LoadOptions.defaults());
    Tensor before = there(arrow.prototypes().get(PATH)).clone();

    adapters.setActive(List.of("poems"), false);
    layer(adapters).forward(draw.normal(5, 8)).square().sum().backward();
    LoraLinear poems = lora(adapters, "poems");
    Tensor kept = lora(adapters, "task_0").a().clone();
    try (var _ = new NoGradGuard()) {
      poems.a().sub_(poems.a().grad());
    }
    adapters.setActive(List.of(Arrow.ROUTER), true);

    Tensor after = there(arrow.prototypes().get(PATH));
    assertThat(after.select(0, 0).equal(before.select(0, 0))).isTrue();
    assertThat(gap(after.select(0, 1), before.select(0, 1))).isGreaterThan(1e-3);
    assertThat(lora(adapters, "task_0").a().equal(kept)).isTrue();
  }

  // ---- general knowledge

  @Test
  void the_mean_of_general_factors_is_subtracted_once_and_from_newcomers_only() {
    Adapters adapters = model();
    create(adapters, subtracting(1), 2, 2);
    Tensor a = lora(adapters, "task_1").a().clone();
    Tensor b = lora(adapters, "task_1").b().clone();
    Tensor meanA =
        lora(adapters, "gks_0").a().add(lora(adapters, "gks_1").a()).mul(new Scalar(0.5));
    Tensor meanB =
        lora(adapters, "gks_0").b().add(lora(adapters, "gks_1").b()).mul(new Scalar(0.5));
    Tensor x = draw.normal(4, 8);

    Tensor one = layer(adapters).forward(x);
    Tensor two = layer(adapters).forward(x);
    Tensor after = lora(adapters, "task_1").a().clone();
    Arrow.Expert newcomer = expert();
    adapters.load("poems", newcomer.config(), newcomer.tensors(), LoadOptions.defaults());
    Tensor poems = lora(adapters, "poems").a().clone();
    Tensor three = layer(adapters).forward(x);

    assertThat(gap(after, a.sub(meanA))).isLessThan(1e-6);
    assertThat(gap(lora(adapters, "task_1").b(), b.sub(meanB))).isLessThan(1e-6);
    assertThat(one.equal(two)).isTrue();
    assertThat(lora(adapters, "task_1").a().equal(after)).isTrue();
    assertThat(gap(lora(adapters, "poems").a(), poems.sub(meanA))).isLessThan(1e-6);
    assertThat(three.isfinite().all().item_bool()).isTrue();
  }

  @Test
  void originals_that_were_kept_come_back_bit_for_bit_and_are_subtracted_from_again() {
    Adapters adapters = model();
    Arrow arrow = create(adapters, subtracting(1), 2, 1).keepOriginals();
    Map<String, Tensor> loaded = new LinkedHashMap<>();
    adapters.state("task_0").forEach((key, t) -> loaded.put(key, t.clone()));
    Tensor x = draw.normal(4, 8);

    Tensor y = layer(adapters).forward(x);
    boolean changed = !lora(adapters, "task_0").a().equal(there(loaded.get(key())));
    arrow.restoreOriginals();

    assertThat(changed).isTrue();
    adapters.state("task_0").forEach((k, t) -> assertThat(t.equal(there(loaded.get(k)))).isTrue());
    assertThat(layer(adapters).forward(x).equal(y)).isTrue();
    assertThatThrownBy(arrow::keepOriginals)
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("before the first forward");
  }

  private static String key() {
    return "base_model.model." + PATH + ".lora_A.weight";
  }

  // ---- files and merging

  @Test
  void a_saved_router_routes_as_before_where_its_experts_are() {
    Adapters first = model();
    create(first, top(2), 3, 0);
    Tensor x = draw.normal(4, 8);
    Adapters second = model();
    for (String name : List.of("task_0", "task_1", "task_2", Arrow.ROUTER)) {
      second.load(name, first.config(name), first.state(name), LoadOptions.defaults());
    }
    second.setActive(List.of(Arrow.ROUTER), true);

    assertThat(layer(second).forward(x).equal(layer(first).forward(x))).isTrue();
    assertThat(Arrow.of(second).prototypes().keySet())
        .isEqualTo(Arrow.of(first).prototypes().keySet());
  }

  @Test
  void a_model_without_a_router_says_so() {
    Adapters adapters = model();
    adapters.attach("one", plain().build(), AttachOptions.seeded(1));

    assertThatThrownBy(() -> Arrow.of(adapters))
        .isInstanceOf(AdapterException.class)
        .hasMessageContaining("Arrow.create");
  }

  @Test
  void merging_the_router_is_refused_and_an_expert_can_be_merged() {
    Adapters adapters = model();
    create(adapters, top(2), 2, 0);

    assertThatThrownBy(() -> adapters.merge(false))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageContaining("chooses anew for each token");
    assertThat(adapters.merge(List.of("task_0"), true).merged()).containsExactly("task_0");
  }
}
