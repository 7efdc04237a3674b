package espalier.checkpoints.pretrained;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AttachOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.SaveEmbeddings;
import espalier.adapters.SaveStart;
import espalier.adapters.Targets;
import espalier.adapters.TokenRows;
import espalier.adapters.lora.LoraConfig;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.SafetensorsFile;
import espalier.models.Model;
import espalier.models.ModelInputs;
import espalier.models.NewRows;
import espalier.nn.Adaptable;
import espalier.nn.Embedding;
import espalier.nn.Scope;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** New tokens: another vocabulary, rows that are trained by themselves, and what is saved. */
class NewTokensTest {

  private static final Path MODELS = Path.of("..", "parity", "models");

  @TempDir Path folder;

  private static PretrainedModel load(String name) {
    return PretrainedModel.load(MODELS.resolve(name), ScalarType.Float);
  }

  private static Tensor weight(Model model, String path) {
    return ((Adaptable) Objects.requireNonNull(model.find(path), path)).weight();
  }

  private static Tensor embedding(Model model) {
    return weight(model, model.inputEmbedding().orElseThrow());
  }

  private static Tensor ids(long... ids) {
    return Tensor.create(ids, 1, ids.length);
  }

  private static Tensor logits(Model model, long... ids) {
    return model.logits(ModelInputs.of(ids(ids)));
  }

  private static double gap(Tensor a, Tensor b) {
    return a.sub(b).abs().max().item_double();
  }

  // ---- resizing

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied", "gpt2", "opt", "gemma3_text", "mixtral"})
  void a_larger_vocabulary_leaves_the_scores_of_the_present_tokens(String name) {
    try (PretrainedModel loaded = load(name);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Model model = loaded.model();
      int before = model.config().vocabulary();
      Tensor old = logits(model, 5, 9, 7);
      boolean tied = embedding(model).data_ptr().equals(weight(model, "lm_head").data_ptr());

      model.resizeTokenEmbeddings(before + 3, NewRows.aroundMean(1));

      Tensor now = logits(model, 5, 9, 7);
      assertThat(now.size(-1)).isEqualTo(before + 3);
      assertThat(gap(now.narrow(-1, 0, before), old)).isLessThan(1e-5);
      assertThat(model.config().vocabulary()).isEqualTo(before + 3);
      assertThat(embedding(model).data_ptr().equals(weight(model, "lm_head").data_ptr()))
          .isEqualTo(tied);
      assertThat(logits(model, 5, before + 2).isfinite().all().item_bool()).isTrue();
    }
  }

  @Test
  void all_tables_of_an_encoder_decoder_stay_one() {
    try (PretrainedModel loaded = load("t5");
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Model model = loaded.model();
      int before = model.config().vocabulary();

      model.resizeTokenEmbeddings(before + 2, NewRows.aroundMean(1));

      for (String path : List.of("encoder.embed_tokens", "decoder.embed_tokens")) {
        assertThat(weight(model, path).data_ptr()).isEqualTo(weight(model, "shared").data_ptr());
        assertThat(weight(model, path).size(0)).isEqualTo(before + 2);
      }
      Tensor answer = model.logits(ModelInputs.answering(ids(before + 1, 3), null, ids(0, before)));
      assertThat(answer.size(-1)).isEqualTo(before + 2);
    }
  }

  @Test
  void a_smaller_vocabulary_is_the_beginning_of_the_larger_one() {
    try (PretrainedModel loaded = load("llama");
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      Model model = loaded.model();
      Tensor old = logits(model, 5, 9, 7);

      model.resizeTokenEmbeddings(20, NewRows.aroundMean(1));

      assertThat(gap(logits(model, 5, 9, 7), old.narrow(-1, 0, 20))).isLessThan(1e-5);
      assertThatThrownBy(() -> logits(model, 5, 20))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("token id 20 is outside of the model's 20");
    }
  }

  @Test
  void drawn_rows_lie_around_the_mean_and_are_the_same_for_a_seed() {
    try (PretrainedModel one = load("llama");
        PretrainedModel two = load("llama");
        PretrainedModel three = load("llama");
        var _ = Scope.open()) {
      int before = one.model().config().vocabulary();
      Tensor mean = embedding(one.model()).mean(new long[] {0}, true, null);

      one.model().resizeTokenEmbeddings(before + 4, NewRows.aroundMean(1));
      two.model().resizeTokenEmbeddings(before + 4, NewRows.aroundMean(1));
      three.model().resizeTokenEmbeddings(before + 4, NewRows.aroundMean(2));

      Tensor rows = embedding(one.model()).narrow(0, before, 4);
      assertThat(gap(rows, mean)).isBetween(1e-9, 1e-2);
      assertThat(rows.equal(embedding(two.model()).narrow(0, before, 4))).isTrue();
      assertThat(rows.equal(embedding(three.model()).narrow(0, before, 4))).isFalse();
      assertThat(rows.equal(weight(one.model(), "lm_head").narrow(0, before, 4))).isFalse();
    }
  }

  @Test
  void given_rows_are_taken_as_they_are_and_must_have_the_shape() {
    try (PretrainedModel loaded = load("llama");
        var _ = Scope.open()) {
      Model model = loaded.model();
      int before = model.config().vocabulary();
      Tensor rows = embedding(model).narrow(0, 3, 2).clone();

      assertThatThrownBy(() -> model.resizeTokenEmbeddings(before + 3, NewRows.given(rows)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("the rows for new tokens are [2, ");
      assertThat(embedding(model).size(0)).isEqualTo(before);

      model.resizeTokenEmbeddings(before + 2, NewRows.given(rows));

      assertThat(embedding(model).narrow(0, before, 2).equal(rows)).isTrue();
    }
  }

  @Test
  void a_padding_row_that_is_cut_off_is_no_padding_row_any_more() {
    try (Embedding table = new Embedding(Tensor.create(new float[12], 6, 2), 5, 1);
        var _ = Scope.open()) {
      table.rebase(Tensor.create(new float[10], 5, 2));

      assertThat(table.paddingIndex()).isEqualTo(-1);
    }
  }

  @Test
  void once_adapters_are_on_the_embedding_it_keeps_its_size() {
    try (PretrainedModel loaded = load("llama")) {
      loaded.attach("one", LoraConfig.builder().targets(Targets.named("embed_tokens")).build(), 1);

      assertThatThrownBy(() -> loaded.model().resizeTokenEmbeddings(99, NewRows.aroundMean(1)))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage(
              "model.embed_tokens has the adapters [one]; resize the vocabulary before adapters"
                  + " come there");
    }
  }

  @Test
  void the_saved_model_has_the_new_vocabulary() {
    try (PretrainedModel loaded = load("llama_tied");
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      int more = loaded.model().config().vocabulary() + 5;
      loaded.model().resizeTokenEmbeddings(more, NewRows.aroundMean(1));
      Tensor before = logits(loaded.model(), 5, more - 1);

      loaded.save(folder, null);

      try (PretrainedModel again = PretrainedModel.load(folder, ScalarType.Float)) {
        assertThat(again.model().config().vocabulary()).isEqualTo(more);
        assertThat(logits(again.model(), 5, more - 1).equal(before)).isTrue();
      }
    }
  }

  // ---- what is saved with an adapter

  @Test
  void resized_embeddings_are_saved_with_an_adapter_that_is_not_on_them() {
    LoraConfig config = LoraConfig.builder().r(2).targets(Targets.named("q_proj")).build();
    try (PretrainedModel plain = load("llama");
        PretrainedModel resized = load("llama");
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      plain.attach("one", config, 1);
      int more = resized.model().config().vocabulary() + 3;
      resized.model().resizeTokenEmbeddings(more, NewRows.aroundMean(4));
      resized.attach("one", config, 1);
      Path small = folder.resolve("small");

      plain.saveAdapter("one", folder.resolve("plain"));
      resized.saveAdapter("one", folder.resolve("resized"));
      resized.saveAdapter("one", small, SaveStart.AUTO, SaveEmbeddings.NO);

      assertThat(keys(folder.resolve("plain"))).noneMatch(key -> key.contains("embed_tokens"));
      assertThat(keys(small)).isEqualTo(keys(folder.resolve("plain")));
      assertThat(keys(folder.resolve("resized")))
          .contains(
              "base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight");
      try (PretrainedModel again = load("llama");
          PretrainedModel untouched = load("llama")) {
        again.model().resizeTokenEmbeddings(more, NewRows.aroundMean(5));
        again.loadAdapter("one", folder.resolve("resized"));
        assertThat(logits(again.model(), 5, more - 1).equal(logits(resized.model(), 5, more - 1)))
            .isTrue();
        assertThatThrownBy(() -> untouched.loadAdapter("one", folder.resolve("resized")))
            .isInstanceOf(IllegalArgumentException.class)
            .hasMessageContaining("so give the base %d tokens first".formatted(more));
      }
    }
  }

  private static Set<String> keys(Path adapter) {
    try (var file = SafetensorsFile.open(adapter.resolve(AdapterFiles.TENSORS))) {
      return Set.copyOf(file.entries().keySet());
    }
  }

  // ---- the way of a new token

  @ParameterizedTest
  @ValueSource(strings = {"llama", "llama_tied"})
  void new_tokens_that_were_trained_mean_the_same_on_a_base_with_other_random_rows(String name) {
    Tensor wanted;
    int first;
    try (PretrainedModel loaded = load(name)) {
      first = loaded.model().config().vocabulary();
      loaded.model().resizeTokenEmbeddings(first + 2, NewRows.aroundMean(1));
      loaded.adapters().attach("new", config(name, first), AttachOptions.seeded(2));
      Map<String, Tensor> trained = loaded.adapters().parameters();
      Tensor table = embedding(loaded.model()).clone();

      train(loaded.model(), trained.values(), first);
      loaded.saveAdapter("new", folder, SaveStart.AUTO, SaveEmbeddings.NO);

      assertThat(embedding(loaded.model()).equal(table)).isTrue();
      assertThat(keys(folder)).isEqualTo(trained.keySet());
      try (var _ = new NoGradGuard()) {
        wanted = logits(loaded.model(), 5, first, 9, first + 1).clone();
      }
    }

    try (PretrainedModel again = load(name);
        var _ = new NoGradGuard()) {
      again.model().resizeTokenEmbeddings(first + 2, NewRows.aroundMean(77));
      LoadResult result = again.loadAdapter("new", folder);

      assertThat(result.missing()).isEmpty();
      assertThat(result.unexpected()).isEmpty();
      assertThat(gap(logits(again.model(), 5, first, 9, first + 1), wanted)).isLessThan(1e-5);
    }
    wanted.close();
    assertThat(Files.exists(folder.resolve(AdapterFiles.CONFIG))).isTrue();
  }

  private static LoraConfig config(String name, int first) {
    List<Integer> tokens = List.of(first, first + 1);
    return LoraConfig.builder()
        .r(2)
        .targets(Targets.named("q_proj", "v_proj"))
        .tokens(
            name.endsWith("tied")
                ? new TokenRows.OfInput(tokens) // the head follows
                : new TokenRows.OfLayers(Map.of("embed_tokens", tokens, "lm_head", tokens)))
        .build();
  }

  private static void train(Model model, Iterable<Tensor> parameters, int first) {
    for (int step = 0; step < 3; step++) {
      try (var _ = Scope.graph()) {
        logits(model, 5, first, 9, first + 1).square().mean().backward();
        try (var _ = new NoGradGuard()) {
          parameters.forEach(p -> p.sub_(new Tensor(p.grad()).mul(new Scalar(0.5))));
        }
        parameters.forEach(p -> p.mutable_grad().reset());
      }
    }
  }
}
