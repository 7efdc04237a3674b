package espalier.adapters;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.hira.HiraConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraConfigBuilder;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.adapters.shira.ShiraConfig;
import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Convolution;
import espalier.nn.Embedding;
import espalier.nn.ExpertWeight;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** An adapter whose tensors are exchanged while it stays where it is. */
class HotSwapTest {

  private static final String LINEAR = "base_model.model.linear.";

  @RegisterExtension final NativeScope scope = NativeScope.graph();

  /** A layer of each kind that has a rank. */
  private static Tree model() {
    var draw = new Tree.Draw(9);
    long[] two = {1, 1};
    var grouped = new Convolution.Geometry(two, new long[2], two, 2, "zeros");
    return Tree.empty()
        .with("linear", new Linear(draw.normal(5, 4), null))
        .with("embedding", new Embedding(draw.normal(6, 4)))
        .with("grouped", new Convolution(draw.normal(4, 2, 3, 3), null, grouped))
        .with("mlp.experts.up", new ExpertWeight(draw.normal(3, 5, 4), false));
  }

  private static Adapters on(Tree model) {
    return Adapters.of(model, ModelFacts.of("llama"));
  }

  private static LoraConfigBuilder lora(int r) {
    return LoraConfig.builder()
        .r(r)
        .alpha(3)
        .init(new LoraInit.Unset())
        .targets(
            Targets.named("linear", "embedding", "grouped").withParameters(List.of("experts.up")));
  }

  private static Map<String, Tensor> file(LoraConfig config, long seed) {
    try (Tree model = model()) {
      Adapters adapters = on(model);
      adapters.attach("any", config, seed);
      var copy = new LinkedHashMap<String, Tensor>();
      adapters.state("any").forEach((key, t) -> copy.put(key, t.detach().clone()));
      return copy;
    }
  }

  /** What each layer gives. */
  private static List<Tensor> outputs(Tree model) {
    var draw = new Tree.Draw(10);
    var outputs = new ArrayList<Tensor>();
    outputs.add(model.at("linear").forward(draw.normal(2, 4)));
    outputs.add(model.at("embedding").forward(Tensor.create(new long[] {1, 5, 0}, 3)));
    outputs.add(model.at("grouped").forward(draw.normal(1, 4, 5, 5)));
    outputs.add(model.at("mlp.experts.up").forward(draw.normal(3, 2, 4)));
    outputs.add(((ExpertWeight) model.at("mlp.experts.up")).forward(draw.normal(2, 4), 1));
    return outputs;
  }

  private static void assertSame(List<Tensor> got, List<Tensor> want) {
    for (int i = 0; i < want.size(); i++) {
      assertThat(got.get(i).allclose(want.get(i), 1e-5, 1e-5, false)).as("layer %d", i).isTrue();
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {2, 4, 8})
  void a_swapped_adapter_gives_what_it_gives_when_it_is_loaded(int rank) {
    try (Tree model = model();
        Tree fresh = model();
        Tree again = model();
        var _ = new NoGradGuard()) {
      Adapters adapters = on(model);
      adapters.attach("one", lora(4).build(), 1);
      LoraConfig next = lora(rank).alpha(5).build();
      Map<String, Tensor> saved = file(next, 2);
      Tensor a = there(adapters.state("one").get(LINEAR + "lora_A.weight"));

      LoadResult result = adapters.swap("one", next, saved);

      on(fresh).load("one", next, saved, LoadOptions.defaults());
      assertSame(outputs(model), outputs(fresh));
      assertThat(result.warnings()).isEmpty();
      assertThat(adapters.names()).containsExactly("one");
      assertThat(there(adapters.state("one").get(LINEAR + "lora_A.weight"))).isSameAs(a);
      assertThat(a.size(0)).isEqualTo(Math.max(4, rank));
      // and what is saved now says how it is
      on(again)
          .load(
              "one",
              adapters.config("one"),
              adapters.state("one", SaveEmbeddings.NO),
              LoadOptions.defaults().withStrict(true));
      assertSame(outputs(again), outputs(fresh));
      assertThat(((LoraConfig) adapters.config("one")).r()).isEqualTo(Math.max(4, rank));
    }
  }

  @Test
  void a_swapped_DoRA_forgets_the_lengths_that_it_had_computed_for_the_one_before() {
    LoraConfig dora =
        lora(4).variant(new LoraVariant.Dora()).targets(Targets.named("linear")).build();
    try (Tree model = model();
        Tree fresh = model();
        var _ = new NoGradGuard()) {
      Adapters adapters = on(model);
      adapters.attach("one", dora, 1);
      model.train(false);
      outputs(model); // from here on it keeps m / n
      Map<String, Tensor> saved = file(dora, 2);

      adapters.swap("one", dora, saved);

      on(fresh).load("one", dora, saved, LoadOptions.defaults());
      assertSame(outputs(model), outputs(fresh));
    }
  }

  @Test
  void widening_changes_no_output_and_lets_higher_ranks_in_without_new_shapes() {
    try (Tree model = model();
        Tree fresh = model();
        var _ = new NoGradGuard()) {
      Adapters adapters = on(model);
      adapters.attach("one", lora(2).alphaPattern(Map.of("linear", 7.0)).build(), 1);
      List<Tensor> before = outputs(model);

      adapters.prepareSwap(8);

      assertSame(outputs(model), before);
      LoraConfig wide = (LoraConfig) adapters.config("one");
      assertThat(wide.r()).isEqualTo(8);
      assertThat(wide.rankPattern().isEmpty()).isTrue();
      on(fresh).load("one", wide, adapters.state("one", SaveEmbeddings.NO), LoadOptions.defaults());
      assertSame(outputs(fresh), before);

      LoraConfig next = lora(4).alphaPattern(Map.of("linear", 7.0)).build();
      adapters.swap("one", next, file(next, 3));
      assertThat(there(adapters.state("one").get(LINEAR + "lora_B.weight")).size(1)).isEqualTo(8);
    }
  }

  @Test
  void a_rank_that_can_not_be_prepared_for_is_refused() {
    try (Tree model = model()) {
      Adapters adapters = on(model);
      assertThatThrownBy(() -> adapters.prepareSwap(8)).isInstanceOf(TargetException.class);
      adapters.attach("one", lora(4).build(), 1);

      assertThatThrownBy(() -> adapters.prepareSwap(2))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "linear has rank 4 already, which is more than the rank 2 to prepare for; choose the"
                  + " highest rank of all adapters");
      assertThatThrownBy(() -> adapters.prepareSwap(5))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "grouped has 2 groups but the rank to prepare for is 5; choose one divisible by 2");
      assertThat(((LoraConfig) adapters.config("one")).r()).isEqualTo(4);
    }
  }

  @Test
  void configs_that_do_not_agree_are_refused_by_field() {
    try (Tree model = model()) {
      Adapters adapters = on(model);
      adapters.attach("one", lora(4).build(), 1);
      Map<String, Tensor> saved = file(lora(4).build(), 2);

      assertThatThrownBy(() -> adapters.swap("one", lora(4).rslora(true).build(), saved))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "use_rslora: false != true; adapters that are swapped in place must agree on it, load"
                  + " the other under a name of its own");
      for (var other :
          List.of(
              lora(4).dropout(0.1),
              lora(4).alphaPattern(Map.of("linear", 2.0)),
              lora(4).variant(new LoraVariant.Dora()))) {
        assertThatThrownBy(() -> adapters.swap("one", other.build(), saved))
            .isInstanceOf(ConfigException.class)
            .hasMessageContaining(" != ");
      }
      assertThatThrownBy(() -> adapters.swap("two", lora(4).build(), saved))
          .isInstanceOf(AdapterException.class);
    }
  }

  @Test
  void an_adapter_of_another_base_or_method_is_refused() {
    try (Tree model = Tree.decoder(1)) {
      Adapters adapters = Adapters.of(model, Tree.facts());
      LoraConfigBuilder q = LoraConfig.builder().r(2).targets(Targets.named("q_proj"));
      adapters.attach("one", q.build(), 1);
      Map<String, Tensor> saved = adapters.state("one");

      assertThatThrownBy(() -> adapters.swap("one", q.init(new LoraInit.Pissa()).build(), saved))
          .isInstanceOf(ConfigException.class)
          .hasMessageStartingWith("init_lora_weights: null != ");
      assertThatThrownBy(() -> adapters.swap("one", HiraConfig.defaults(), saved))
          .isInstanceOf(ConfigException.class)
          .hasMessage("peft_type: LORA != HIRA; only an adapter of LoRA can take the place of one");
    }
  }

  @Test
  void what_the_file_lacks_becomes_zero_and_what_the_model_lacks_is_refused() {
    try (Tree model = model();
        var _ = new NoGradGuard()) {
      Adapters adapters = on(model);
      adapters.attach("one", lora(4).build(), 1);
      LoraConfig next = lora(2).build();
      Map<String, Tensor> saved = file(next, 2);
      List<Tensor> before = outputs(model);
      var more = new LinkedHashMap<>(saved);
      more.put("base_model.model.other.lora_A.weight", there(saved.get(LINEAR + "lora_A.weight")));

      assertThatThrownBy(() -> adapters.swap("one", next, more))
          .isInstanceOf(StateMismatchException.class)
          .hasMessageStartingWith("1 tensors belong to no layer that one is on, the first is");
      assertSame(outputs(model), before);

      saved.keySet().removeIf(key -> key.startsWith(LINEAR));
      LoadResult result = adapters.swap("one", next, saved);

      Adaptable linear = model.at("linear");
      Tensor x = new Tree.Draw(1).normal(2, 4);
      assertThat(linear.forward(x).equal(linear.base(x))).isTrue();
      assertThat(result.missing()).hasSize(2);
      assertThat(result.warnings()).hasSize(1);
    }
  }

  @Test
  void a_merged_adapter_is_not_swapped() {
    try (Tree model = Tree.decoder(1)) {
      Adapters adapters = Adapters.of(model, Tree.facts());
      LoraConfig config = LoraConfig.builder().targets(Targets.named("q_proj")).build();
      adapters.attach("one", config, 1);
      adapters.merge(false);

      assertThatThrownBy(() -> adapters.swap("one", config, adapters.state("one")))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("the adapter one is merged and can not be swapped; unmerge it first");
    }
  }

  @Test
  void a_tied_pair_is_swapped_on_both_sides() {
    try (var model = TiedModel.tied();
        var other = TiedModel.tied();
        var _ = new NoGradGuard()) {
      LoraConfig config =
          LoraConfig.builder()
              .r(2)
              .init(new LoraInit.Unset())
              .targets(Targets.named("embed_tokens"))
              .ensureWeightTying(true)
              .build();
      model.adapters.attach("one", config, 1);
      other.adapters.attach("one", config, 2);

      model.adapters.swap("one", config, other.adapters.state("one"));

      assertThat(model.logits().equal(other.logits())).isTrue();
    }
  }

  @Test
  void passes_beside_a_swap_see_one_adapter_or_the_other_and_never_both()
      throws InterruptedException {
    try (Tree model = model();
        var _ = new NoGradGuard()) {
      Adapters adapters = on(model);
      LoraConfig config = lora(4).build();
      Map<String, Tensor> one = file(config, 1);
      Map<String, Tensor> two = file(config, 2);
      adapters.load("a", config, one, LoadOptions.defaults());
      List<Tensor> first = outputs(model);
      adapters.swap("a", config, two);
      List<Tensor> second = outputs(model);
      var mixed = new AtomicInteger();
      Thread reader =
          Thread.ofPlatform()
              .start(
                  () -> {
                    for (int i = 0; i < 200; i++) {
                      try (var _ = Scope.open();
                          var _ = new NoGradGuard()) {
                        List<Tensor> seen = adapters.steady(() -> outputs(model));
                        if (!equal(seen, first) && !equal(seen, second)) {
                          mixed.incrementAndGet();
                        }
                      }
                    }
                  });

      while (reader.isAlive()) {
        adapters.swap("a", config, one);
        adapters.swap("a", config, two);
      }
      reader.join();

      assertThat(mixed).hasValue(0);
    }
  }

  @Test
  void passes_beside_a_switch_in_place_see_one_adapter_or_the_other_and_never_both()
      throws InterruptedException {
    try (Tree model =
            Tree.empty()
                .with("one", new Linear(new Tree.Draw(1).normal(256, 256), null))
                .with("two", new Linear(new Tree.Draw(2).normal(256, 256), null));
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Adapters adapters = on(model);
      ShiraConfig config =
          ShiraConfig.defaults()
              .withR(2)
              .withZeroStart(false)
              .withTargets(Targets.named("one", "two"));
      adapters.attach("a", config, 1);
      adapters.attach("b", config, 2);
      Tensor x = new Tree.Draw(3).normal(4, 256);
      Supplier<List<Tensor>> outputs =
          () ->
              Stream.of("one", "two")
                  .map(path -> ((Linear) there(adapters.on("a").get(path)).layer()).forward(x))
                  .toList();
      adapters.switchTo(List.of("a"), false);
      List<Tensor> first = outputs.get();
      adapters.switchTo(List.of("b"), false);
      List<Tensor> second = outputs.get();
      var mixed = new AtomicInteger();
      Thread reader =
          Thread.ofPlatform()
              .start(
                  () -> {
                    for (int i = 0; i < 200; i++) {
                      try (var _ = Scope.open();
                          var _ = new NoGradGuard()) {
                        List<Tensor> seen = adapters.steady(outputs);
                        if (!near(seen, first) && !near(seen, second)) {
                          mixed.incrementAndGet();
                        }
                      }
                    }
                  });

      while (reader.isAlive()) {
        adapters.switchTo(List.of("a"), false);
        adapters.switchTo(List.of("b"), false);
      }
      reader.join();

      assertThat(near(first, second)).isFalse();
      assertThat(mixed).hasValue(0);
    }
  }

  @Test
  void within_a_pass_nothing_is_merged() {
    try (Tree model = model()) {
      Adapters adapters = on(model);
      adapters.attach("one", lora(2).build(), 1);

      assertThatThrownBy(() -> adapters.steady(() -> adapters.merge(false)))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("from within a forward pass");
      assertThat(adapters.merged()).isEmpty();
    }
  }

  // A weight that is asked for again and again is multiplied in another order.
  private static boolean near(List<Tensor> a, List<Tensor> b) {
    for (int i = 0; i < a.size(); i++) {
      if (a.get(i).sub(b.get(i)).abs().max().item_double() > 1e-3) {
        return false;
      }
    }
    return true;
  }

  private static boolean equal(List<Tensor> a, List<Tensor> b) {
    for (int i = 0; i < a.size(); i++) {
      if (!a.get(i).equal(b.get(i))) {
        return false;
      }
    }
    return true;
  }

  @Test
  void the_adapter_keeps_its_objects() {
    try (Tree model = model()) {
      Adapters adapters = on(model);
      adapters.attach("one", lora(4).build(), 1);
      Adapter before = there(adapters.on("one").get("linear"));

      adapters.swap("one", lora(2).build(), file(lora(2).build(), 2));

      assertThat(adapters.on("one").get("linear")).isSameAs(before);
    }
  }
}
