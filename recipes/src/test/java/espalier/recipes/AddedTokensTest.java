package espalier.recipes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.SaveEmbeddings;
import espalier.adapters.SaveStart;
import espalier.adapters.Targets;
import espalier.adapters.TokenRows;
import espalier.adapters.lora.LoraConfig;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.models.NewRows;
import espalier.nn.Scope;
import espalier.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** From a word that is new to the tokenizer to an adapter that knows it. */
class AddedTokensTest {

  @TempDir Path folder;

  private static Tensor logits(PretrainedModel model, String text) {
    long[] ids = Arrays.stream(model.tokenizer().encode(text, false)).asLongStream().toArray();
    return model.model().logits(ModelInputs.of(Tensor.create(ids, 1, ids.length)));
  }

  /** So many words that the embedding has no row for the last of them. */
  private static List<String> words(PretrainedModel model) {
    int rows = model.model().config().vocabulary() - model.tokenizer().vocabularySize();
    return IntStream.range(0, Math.max(rows, 0) + 2).mapToObj("<w%d>"::formatted).toList();
  }

  @Test
  void a_new_word_that_was_trained_means_the_same_after_loading_on_other_random_rows()
      throws IOException {
    Path checkpoint = TinyChat.model(folder);
    Path adapter = folder.resolve("adapter");
    String text;
    Tensor wanted;
    try (PretrainedModel model = PretrainedModel.load(checkpoint, ScalarType.Float)) {
      List<String> words = words(model);
      text = "an " + words.getLast() + " tree";
      int before = model.model().config().vocabulary();
      List<Integer> ids = model.addTokens(words, true, NewRows.aroundMean(1));
      assertThat(model.model().config().vocabulary()).isGreaterThan(before);
      assertThat(model.tokenizer().encode(text, false)).contains(ids.getLast());
      model.attach("words", config(ids), 2);

      train(model, text);
      model.saveAdapter("words", adapter, SaveStart.AUTO, SaveEmbeddings.NO);

      try (var _ = new NoGradGuard()) {
        wanted = logits(model, text).clone();
      }
    }

    try (PretrainedModel again = PretrainedModel.load(checkpoint, ScalarType.Float);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      again.addTokens(words(again), true, NewRows.aroundMean(99));
      again.loadAdapter("words", adapter);

      assertThat(logits(again, text).sub(wanted).abs().max().item_double()).isLessThan(1e-5);
    }
    wanted.close();
  }

  private static LoraConfig config(List<Integer> ids) {
    return LoraConfig.builder()
        .r(2)
        .targets(Targets.named("q_proj"))
        .tokens(new TokenRows.OfLayers(Map.of("embed_tokens", ids, "lm_head", ids)))
        .build();
  }

  private static void train(PretrainedModel model, String text) {
    for (int step = 0; step < 2; step++) {
      try (var _ = Scope.graph()) {
        logits(model, text).square().mean().backward();
        try (var _ = new NoGradGuard()) {
          for (Tensor p : model.adapters().parameters().values()) {
            p.sub_(new Tensor(p.grad()).mul(new Scalar(0.5)));
            p.mutable_grad().reset();
          }
        }
      }
    }
  }

  @Test
  void words_that_have_a_row_already_leave_the_embedding_and_known_ones_the_tokenizer()
      throws IOException {
    try (PretrainedModel model = PretrainedModel.load(TinyChat.model(folder), ScalarType.Float)) {
      int rows = model.model().config().vocabulary();
      int tokens = model.tokenizer().vocabularySize();
      String known = model.tokenizer().token(5);

      assertThat(model.addTokens(List.of(known), false, NewRows.aroundMean(1))).containsExactly(5);
      assertThat(model.tokenizer().vocabularySize()).isEqualTo(tokens);
      assertThat(model.model().config().vocabulary()).isEqualTo(Math.max(rows, tokens));
    }
  }

  @Test
  void where_the_embedding_can_not_grow_the_tokenizer_does_not_either() throws IOException {
    try (PretrainedModel model = PretrainedModel.load(TinyChat.model(folder), ScalarType.Float)) {
      model.attach("one", LoraConfig.builder().targets(Targets.named("embed_tokens")).build(), 1);
      Tokenizer before = model.tokenizer();

      assertThatThrownBy(() -> model.addTokens(words(model), true, NewRows.aroundMean(1)))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("resize the vocabulary before adapters come there");

      assertThat(model.tokenizer()).isSameAs(before);
      assertThat(before.encode("a", false)).isNotEmpty();
    }
  }
}
