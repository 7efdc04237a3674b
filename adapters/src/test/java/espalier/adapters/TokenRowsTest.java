package espalier.adapters;

import static espalier.adapters.TiedModel.EMBEDDING;
import static espalier.adapters.TiedModel.HEAD;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraConfigBuilder;
import espalier.nn.Adaptable;
import espalier.nn.Embedding;
import espalier.nn.Rows;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code trainable_token_indices}: rows that are trained by themselves. */
class TokenRowsTest {

  private static final String DELTA =
      "base_model.model." + EMBEDDING + ".token_adapter.trainable_tokens_delta";
  private static final String HEAD_DELTA =
      "base_model.model." + HEAD + ".token_adapter.trainable_tokens_delta";

  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static LoraConfigBuilder lora() {
    return LoraConfig.builder().r(2).targets(Targets.named("q_proj"));
  }

  private static LoraConfig rows(Integer... tokens) {
    return lora().tokens(new TokenRows.OfInput(List.of(tokens))).build();
  }

  private static LoraConfig rows(Map<String, List<Integer>> tokens) {
    return lora().tokens(new TokenRows.OfLayers(tokens)).build();
  }

  private static void shift(Adapters adapters, String name, String key) {
    try (var _ = new NoGradGuard()) {
      there(adapters.state(name).get(key)).add_(new Scalar(0.5));
    }
  }

  /** What the whole table with the rows in it would give. */
  private static Tensor dense(Adaptable layer, Tensor x, Tensor delta, long... rows) {
    Tensor table = layer.originalWeight().index_copy(0, torch.tensor(rows), delta);
    return layer.base(x, table, layer.bias());
  }

  @Test
  void a_new_adapter_changes_nothing_and_trains_its_rows_only() {
    try (var model = TiedModel.untied()) {
      Tensor before = model.logits();
      model.adapters.attach("one", rows(5, 2), 1);

      assertThat(model.logits().equal(before)).isTrue();
      assertThat(there(model.adapters.parameters().get(DELTA)).shape()).containsExactly(2, 4);
    }
  }

  @Test
  void trained_rows_stand_in_the_place_of_those_of_the_table() {
    try (var model = TiedModel.untied()) {
      model.adapters.attach(
          "one", rows(new LinkedHashMap<>(Map.of(EMBEDDING, List.of(5, 2), HEAD, List.of(1)))), 1);
      shift(model.adapters, "one", DELTA);
      shift(model.adapters, "one", HEAD_DELTA);
      Adaptable embedding = model.tree.at(EMBEDDING);
      Adaptable head = model.tree.at(HEAD);
      Tensor ids = Tensor.create(new long[] {5, 0, 2, 5}, 2, 2);
      Tensor x = new Tree.Draw(2).normal(3, 4).to(torch.ScalarType.Double);
      Tensor delta = there(model.adapters.parameters().get(DELTA));
      Tensor headDelta = there(model.adapters.parameters().get(HEAD_DELTA));

      Tensor y = embedding.forward(ids);
      Tensor logits = head.forward(x);
      y.pow(new Scalar(2)).sum().add(logits.pow(new Scalar(2)).sum()).backward();
      Tensor got = new Tensor(delta.grad()).clone();
      Tensor gotHead = new Tensor(headDelta.grad()).clone();
      delta.mutable_grad().reset();
      headDelta.mutable_grad().reset();
      Tensor want = dense(embedding, ids, delta, 5, 2);
      Tensor wantLogits = dense(head, x, headDelta, 1);
      want.pow(new Scalar(2)).sum().add(wantLogits.pow(new Scalar(2)).sum()).backward();

      assertThat(y.equal(want)).isTrue();
      assertThat(logits.allclose(wantLogits, 1e-12, 1e-12, false)).isTrue();
      assertThat(got.allclose(new Tensor(delta.grad()), 1e-12, 1e-12, false)).isTrue();
      assertThat(gotHead.allclose(new Tensor(headDelta.grad()), 1e-12, 1e-12, false)).isTrue();
    }
  }

  @Test
  void a_scaled_embedding_scales_trained_rows_and_a_padding_row_never_learns() {
    var draw = new Tree.Draw(4);
    try (Tree tree = Tree.empty().with("wte", new Embedding(draw.normal(6, 3), 2, 2.5))) {
      tree.with("q_proj", new espalier.nn.Linear(draw.normal(3, 3), null));
      var adapters = Adapters.of(tree, ModelFacts.of("llama"));
      adapters.attach("one", rows(Map.of("wte", List.of(2, 4))), 1);
      String key = "base_model.model.wte.token_adapter.trainable_tokens_delta";
      shift(adapters, "one", key);
      Tensor ids = Tensor.create(new long[] {2, 4, 1}, 3);
      Tensor delta = there(adapters.parameters().get(key));

      Tensor y = tree.at("wte").forward(ids);
      y.sum().backward();

      assertThat(y.equal(dense(tree.at("wte"), ids, delta, 2, 4))).isTrue();
      assertThat(new Tensor(delta.grad()).select(0, 0).count_nonzero().item_long()).isZero();
      assertThat(
              new Tensor(delta.grad())
                  .select(0, 1)
                  .equal(torch.full(new long[] {3}, new Scalar(2.5))))
          .isTrue();
    }
  }

  @Test
  void merging_writes_the_rows_and_unmerging_takes_them_out_bit_for_bit() {
    try (var model = TiedModel.tied();
        var _ = new NoGradGuard()) {
      Tensor before = model.tree.at(EMBEDDING).weight().clone();
      model.adapters.attach("one", rows(5, 2), 1);
      shift(model.adapters, "one", DELTA);
      Tensor unmerged = model.logits();

      MergeResult result = model.adapters.merge(true);

      assertThat(model.logits().allclose(unmerged, 1e-12, 1e-12, false)).isTrue();
      assertThat(model.tree.at(EMBEDDING).weight().select(0, 3).equal(before.select(0, 3)))
          .isTrue();
      assertThat(result.untied()).isEmpty();
      assertThat(model.shareOneWeight()).isTrue();
      model.adapters.unmerge();
      assertThat(model.tree.at(EMBEDDING).weight().equal(before)).isTrue();
      model.adapters.unload();
      assertThat(model.tree.at(HEAD).weight().equal(before)).isTrue();
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "false | false | list | false | ",
        "false | true  | list | false | no layers of",
        "true  | false | list | true  | ",
        "true  | true  | list | true  | ",
        "false | false | same | false | ",
        "false | true  | same | false | no layers of",
        "true  | false | same | true  | ",
        "true  | true  | same | true  | ",
        "false | false | other | false | ",
        "false | true  | other | false | no layers of",
        "true  | false | other | false | "
      })
  void the_table_of_tied_rows_holds(
      boolean tied, boolean ensure, String given, boolean follows, String warning) {
    try (var model = tied ? TiedModel.tied() : TiedModel.untied()) {
      var both = new LinkedHashMap<String, List<Integer>>();
      both.put("embed_tokens", List.of(5, 2));
      both.put("lm_head", given.equals("same") ? List.of(5, 2) : List.of(2, 5));
      LoraConfig config =
          (given.equals("list") ? rows(5, 2) : rows(both))
              .toBuilder().ensureWeightTying(ensure).build();

      Attached attached = model.adapters.attach("one", config, 1);

      assertThat(attached.tokens().contains(HEAD)).isEqualTo(follows || !given.equals("list"));
      assertThat(model.adapters.state("one").containsKey(HEAD_DELTA))
          .isEqualTo(!follows && !given.equals("list"));
      assertThat(model.adapters.state("one").keySet().stream().filter(k -> !k.contains("lora_")))
          .containsExactlyInAnyOrderElementsOf(
              follows || given.equals("list") ? List.of(DELTA) : List.of(DELTA, HEAD_DELTA));
      assertThat(attached.config().tokens()).isEqualTo(config.tokens());
      assertThat(attached.warnings()).hasSize(warning == null ? 0 : 1);
      if (warning != null) {
        assertThat(attached.warnings().getFirst()).contains(warning);
      }
      Tensor before = model.logits().clone();
      shift(model.adapters, "one", DELTA);
      Tensor logits = model.logits();
      // the column of token 5 at a place that has not read it changes by the head alone
      Tensor change = logits.sub(before).select(0, 1).select(0, 1);
      assertThat(change.select(0, 5).item_double() != 0).isEqualTo(follows);
    }
  }

  @Test
  void different_rows_of_tied_layers_are_refused_if_they_are_to_be_one() {
    try (var model = TiedModel.tied()) {
      var both = new LinkedHashMap<String, List<Integer>>();
      both.put("embed_tokens", List.of(5, 2));
      both.put("lm_head", List.of(2));

      assertThatThrownBy(
              () ->
                  model.adapters.attach(
                      "one", rows(both).toBuilder().ensureWeightTying(true).build(), 1))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "ensure_weight_tying needs the same trainable_token_indices for all layers of one"
                  + " weight, but there are model.embed_tokens [5, 2], lm_head [2]; name"
                  + " model.embed_tokens alone, or the same rows in the same order");
    }
  }

  @Test
  void rows_of_a_follower_alone_stay_its_own() {
    try (var model = TiedModel.tied()) {
      Tensor before = model.logits();

      Attached attached =
          model.adapters.attach(
              "one", rows(Map.of(HEAD, List.of(5))).toBuilder().ensureWeightTying(true).build(), 1);
      shift(model.adapters, "one", HEAD_DELTA);

      assertThat(attached.tokens()).containsExactly(HEAD);
      assertThat(attached.warnings())
          .containsExactly(
              "ensure_weight_tying is set but of lm_head and model.embed_tokens, which share one"
                  + " weight, only rows of the former are trained; name model.embed_tokens in"
                  + " trainable_token_indices to train them as one");
      Tensor change = model.logits().sub(before);
      assertThat(change.narrow(-1, 0, 5).count_nonzero().item_long()).isZero();
      assertThat(change.select(-1, 5).count_nonzero().item_long()).isPositive();
    }
  }

  @Test
  void what_does_not_fit_is_refused_by_name() {
    try (var model = TiedModel.untied()) {
      assertThatThrownBy(() -> model.adapters.attach("one", rows(1, 7), 1))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "trainable_token_indices has token 7 but model.embed_tokens has 7 rows, 0 to 6; add"
                  + " the token to the tokenizer and resize the model first");
      assertThatThrownBy(() -> model.adapters.attach("one", rows(3, 3), 1))
          .hasMessage(
              "trainable_token_indices has token 3 twice for model.embed_tokens; name each row"
                  + " once");
      assertThatThrownBy(
              () -> model.adapters.attach("one", rows(Map.of("embed_toknes", List.of(1))), 1))
          .isInstanceOf(TargetException.class)
          .hasMessage(
              "trainable_token_indices has embed_toknes, which matches no layer; nearest is"
                  + " embed_tokens (1 layer)");
      LoraConfig both = rows(1).withTargets(Targets.named("q_proj").saving(EMBEDDING));
      assertThatThrownBy(() -> model.adapters.attach("one", both, 1))
          .isInstanceOf(ConfigException.class)
          .hasMessageStartingWith(
              "model.embed_tokens is in modules_to_save and in trainable_token_indices");
      LoraConfig targeted = rows(1).withTargets(Targets.named("embed_tokens"));
      assertThatThrownBy(() -> model.adapters.attach("one", targeted, 1))
          .isInstanceOf(ConfigException.class)
          .hasMessageStartingWith(
              "model.embed_tokens is in target_modules and in trainable_token_indices");
      assertThat(model.adapters.names()).isEmpty();
    }
  }

  @Test
  void two_adapters_may_train_different_rows_at_once_but_not_the_same() {
    try (var model = TiedModel.untied();
        var _ = new NoGradGuard()) {
      model.adapters.attach("one", rows(1, 2), 1);
      model.adapters.add("two", rows(3), AttachOptions.seeded(2));
      model.adapters.add("three", rows(2, 4), AttachOptions.seeded(3));
      shift(model.adapters, "one", DELTA);
      shift(model.adapters, "two", DELTA);

      model.adapters.setActive(List.of("one", "two"));
      Tensor unmerged = model.logits();
      model.adapters.merge(false);
      assertThat(model.logits().allclose(unmerged, 1e-12, 1e-12, false)).isTrue();

      assertThatThrownBy(() -> model.adapters.merge(List.of("three"), false))
          .isInstanceOf(AdapterException.class);
      model.adapters.unmerge();
      assertThatThrownBy(() -> model.adapters.setActive(List.of("one", "three")))
          .isInstanceOf(AdapterException.class)
          .hasMessage(
              "one and three both train some of the same rows of model.embed_tokens; only one of"
                  + " them can be active at a time");
    }
  }

  @Test
  void each_row_of_a_batch_has_the_rows_of_its_own_adapter() {
    try (var model = TiedModel.tied();
        var _ = new NoGradGuard()) {
      model.adapters.attach("one", rows(5, 2), 1);
      model.adapters.add("two", rows(5), AttachOptions.seeded(2));
      shift(model.adapters, "one", DELTA);
      shift(model.adapters, "two", DELTA);
      shift(model.adapters, "two", DELTA);

      Tensor mixed = model.adapters.mixed(List.of("two", Rows.BASE), 2, model::logits);
      model.adapters.setActive(List.of("two"));
      Tensor two = model.logits();
      try (var _ = model.adapters.disable()) {
        assertThat(mixed.select(0, 1).allclose(model.logits().select(0, 1), 1e-12, 1e-12, false))
            .isTrue();
      }

      assertThat(mixed.select(0, 0).allclose(two.select(0, 0), 1e-12, 1e-12, false)).isTrue();
    }
  }

  @Test
  void rows_mean_the_same_on_a_base_whose_new_rows_are_others() {
    try (var model = TiedModel.tied();
        var other = TiedModel.tied();
        var _ = new NoGradGuard()) {
      Attached attached = model.adapters.attach("one", rows(5, 6), 1);
      shift(model.adapters, "one", DELTA);
      var state = new LinkedHashMap<String, Tensor>();
      model.adapters.state("one").forEach((key, t) -> state.put(key, t.clone()));
      Tensor table = model.tree.at(EMBEDDING).originalWeight().clone();
      table.narrow(0, 5, 2).normal_();
      other.tree.at(EMBEDDING).rebase(table);
      other.tree.at(HEAD).rebase(table);

      LoadResult result =
          other.adapters.load("one", attached.config(), state, LoadOptions.defaults());

      assertThat(result.missing()).isEmpty();
      assertThat(other.logits().equal(model.logits())).isTrue();
      assertThat(state).hasSize(3);
    }
  }
}
