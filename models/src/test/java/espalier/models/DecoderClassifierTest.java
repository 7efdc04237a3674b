package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.nn.Scope;
import espalier.nn.Weights;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;

/** What the numbers of the reference, which TraitsTest has, do not tell. */
class DecoderClassifierTest {

  private static Model model(String pad) {
    Map<String, @Nullable Object> config =
        Fixtures.map(
            Fixtures.text(Fixtures.golden("llama_scores.json"))
                .replace("\"pad_token_id\": 0", "\"pad_token_id\": " + pad));
    Weights file = Safetensors.read(Fixtures.golden("llama_scores.safetensors"));
    return Families.build(config, file.at("weight"));
  }

  @Test
  void facts_about_it_are_those_of_a_classifier() {
    try (Model model = model("0")) {
      assertThat(model.task()).isEqualTo(Task.SEQ_CLS);
      assertThat(model.config().labels()).isEqualTo(3);
      assertThat(model.outputHead()).isEmpty();
      assertThat(model.classificationHead()).contains("score");
      assertThat(model.tiedWeights()).isEmpty();
      assertThat(model.freshParameters()).isEmpty();
      assertThat(model.config().unread()).isEmpty();
    }
  }

  @Test
  void the_last_token_that_is_not_padding_counts_wherever_padding_stands() {
    Tensor rows = Fixtures.ids(new long[] {7, 0, 9, 0}, new long[] {0, 0, 7, 9});
    Tensor empty = Fixtures.ids(new long[] {0, 0, 0, 0});
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = model("0")) {
      Tensor both = model.logits(ModelInputs.of(rows));

      // no mask is given, so padding is read as text and only what is asked for is another token
      Tensor first = model.logits(ModelInputs.of(Fixtures.ids(new long[] {7, 0, 9})));
      Tensor second = model.logits(ModelInputs.of(Fixtures.ids(new long[] {0, 0, 7, 9})));
      Tensor start = model.logits(ModelInputs.of(Fixtures.ids(new long[] {0})));
      assertThat(Fixtures.distance(both.narrow(0, 0, 1), first)).isLessThan(1e-5);
      assertThat(Fixtures.distance(both.narrow(0, 1, 1), second)).isLessThan(1e-5);
      assertThat(Fixtures.distance(model.logits(ModelInputs.of(empty)), start)).isLessThan(1e-5);
    }
  }

  @Test
  void without_a_padding_token_one_row_is_scored_at_its_end_and_more_are_refused() {
    Tensor row = Fixtures.ids(new long[] {7, 9, 0});
    Tensor rows = Fixtures.ids(new long[] {7, 9, 0}, new long[] {7, 9, 5});
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model unknown = model("null");
        Model none = model("-1")) {
      Tensor score = unknown.logits(ModelInputs.of(row));

      assertThatThrownBy(() -> unknown.logits(ModelInputs.of(rows)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(
              "the config of this llama has no pad_token_id, so that the last token of each of 2"
                  + " rows can not be told from padding; set pad_token_id in config.json, or give"
                  + " one row at a time");
      // -1 is a token that no text has
      assertThat(Fixtures.distance(none.logits(ModelInputs.of(rows)).narrow(0, 0, 1), score))
          .isLessThan(1e-5);
    }
  }

  @Test
  void a_file_of_gemma_that_leaves_its_padding_token_out_means_the_usual_one() {
    Map<String, @Nullable Object> config =
        Fixtures.map(Fixtures.text(Fixtures.golden("gemma3_scores.json")));
    config.remove("pad_token_id");
    Weights file = Safetensors.read(Fixtures.golden("gemma3_scores.safetensors"));
    Tensor rows = Fixtures.ids(new long[] {7, 9, 0}, new long[] {7, 9, 5});
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model without = Families.build(config, file.at("weight"));
        Model with = Fixtures.goldenModel("gemma3_scores")) {
      assertThat(
              Fixtures.distance(
                  without.logits(ModelInputs.of(rows)), with.logits(ModelInputs.of(rows))))
          .isZero();
    }
  }

  @Test
  void a_decoder_that_wrote_gets_a_fresh_head_of_two_labels() {
    try (Model model =
        Families.build(
            Fixtures.config("llama", "architectures", List.of("LlamaForSequenceClassification")),
            Fixtures.weights("llama"))) {

      assertThat(model.freshParameters()).containsExactly("score.weight");
      assertThat(model.logits(ModelInputs.of(Fixtures.ids(new long[] {4, 5}))).shape())
          .containsExactly(1, 2);
    }
  }

  @Test
  void packed_rows_and_a_cache_are_refused() {
    Tensor ids = Fixtures.ids(new long[] {7, 9, 5});
    try (Model model = model("0")) {
      assertThatThrownBy(() -> model.logits(ModelInputs.packed(ids, ids)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(
              "llama scores whole rows: it takes neither decoder inputs nor packed rows nor a"
                  + " cache");
      assertThatThrownBy(() -> model.newCache(3))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("llama with a classifier does not generate, so it has no cache");
    }
  }
}
