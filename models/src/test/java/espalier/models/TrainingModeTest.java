package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.manual_seed;

import espalier.nn.Scope;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TrainingModeTest {

  private static final Tensor IDS =
      Fixtures.ids(new long[] {5, 17, 22, 9, 3, 30}, new long[] {11, 6, 19, 2, 0, 0});
  private static final Tensor MASK =
      Fixtures.ids(new long[] {1, 1, 1, 1, 1, 1}, new long[] {1, 1, 1, 1, 0, 0});

  private static final String FIELDS =
      """
      llama, attention_dropout
      gemma3_text, attention_dropout
      gpt2, attn_pdrop
      gpt2, embd_pdrop
      gpt2, resid_pdrop
      opt, dropout
      bert, hidden_dropout_prob
      bert, attention_probs_dropout_prob
      bert, classifier_dropout
      t5, dropout_rate
      """;

  @ParameterizedTest
  @CsvSource(textBlock = FIELDS)
  void dropout_acts_in_training_only_and_follows_the_seed(String id, String field) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = with(id, field, 0.5);
        Model plain = Fixtures.model(id)) {
      Tensor evaluated = logits(model);
      model.train(true);
      manual_seed(3);
      Tensor trained = logits(model);
      manual_seed(3);
      Tensor again = logits(model);

      assertThat(Fixtures.distance(evaluated, logits(plain))).isZero();
      assertThat(Fixtures.distance(trained, evaluated)).isGreaterThan(1e-2);
      assertThat(Fixtures.distance(trained, again)).isZero();
    }
  }

  /** Attention with dropout is a formula of its own; with next to none it must be the same. */
  @ParameterizedTest
  @CsvSource(textBlock = FIELDS)
  void next_to_no_dropout_changes_next_to_nothing(String id, String field) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = with(id, field, 1e-12)) {
      Tensor evaluated = logits(model);
      model.train(true);

      // float32, where logits reach 100
      assertThat(Fixtures.distance(logits(model), evaluated)).isLessThan(3e-4);
    }
  }

  /** The mask changes nothing but outputs at padding where padding is on the right. */
  @ParameterizedTest
  @CsvSource({"llama", "gemma3_text", "gpt2", "mixtral"})
  void rows_padded_on_the_right_need_no_mask(String id) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = Fixtures.model(id)) {
      Tensor real = MASK.to(ScalarType.Float).unsqueeze(-1);

      Tensor masked = model.logits(ModelInputs.of(IDS, MASK)).mul(real);
      Tensor unmasked = model.logits(ModelInputs.of(IDS)).mul(real);

      assertThat(Fixtures.distance(masked, unmasked)).isLessThan(3e-4);
    }
  }

  private static Model with(String id, String field, double probability) {
    Map<String, @Nullable Object> config = Fixtures.config(id, field, probability);
    return Families.build(config, Fixtures.weights(id));
  }

  private static Tensor logits(Model model) {
    return model.logits(
        model.task() == Task.SEQ_2_SEQ_LM
            ? ModelInputs.answering(IDS, MASK, IDS)
            : ModelInputs.of(IDS, MASK));
  }
}
