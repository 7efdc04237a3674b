package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.ones;

import espalier.nn.Scope;
import java.util.List;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CachedDecodingTest {

  // float32; the logits reach 100 in the parity models
  private static final double LIMIT = 3e-4;

  private static final Tensor IDS =
      Fixtures.ids(
          new long[] {0, 0, 0, 7, 31, 12, 9, 25, 14, 38},
          new long[] {5, 17, 22, 9, 3, 30, 11, 6, 19, 4},
          new long[] {0, 33, 8, 21, 10, 16, 27, 39, 13, 20});

  private static final Tensor MASK =
      Fixtures.ids(
          new long[] {0, 0, 0, 1, 1, 1, 1, 1, 1, 1},
          new long[] {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
          new long[] {0, 1, 1, 1, 1, 1, 1, 1, 1, 1});

  @ParameterizedTest
  @ValueSource(
      strings = {
        "llama",
        "llama_tied",
        "qwen2",
        "qwen3",
        "gemma3_text",
        "opt",
        "gpt2",
        "mixtral",
        "mistral",
        "qwen2_sliding",
        "qwen3_moe",
        "qwen3_moe_plain",
        "gemma3_scaled",
        "opt_after"
      })
  void tokens_one_by_one_give_the_logits_of_all_at_once(String name) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = any(name);
        KvCache cache = model.newCache(2)) {
      // left padding: the first four tokens, then two, then one by one
      Tensor whole = model.logits(ModelInputs.of(IDS, MASK));
      Tensor padded = stepwise(model, cache, MASK, 4, 2, 1, 1, 1, 1);
      Tensor real = MASK.to(ScalarType.Float).unsqueeze(-1);
      assertThat(Fixtures.distance(padded.mul(real), whole.mul(real))).isLessThan(LIMIT);

      cache.truncate(0);
      Tensor plain = model.logits(ModelInputs.of(IDS));
      assertThat(Fixtures.distance(stepwise(model, cache, null, 3, 1, 1, 4, 1), plain))
          .isLessThan(LIMIT);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"t5", "t5_gated"})
  void an_answer_one_by_one_gives_the_logits_of_all_at_once(String name) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = any(name);
        KvCache cache = model.newCache(1)) {
      Tensor answer = IDS.narrow(1, 0, 6);
      Tensor whole = model.logits(ModelInputs.answering(IDS, MASK, answer));

      var parts = new TensorVector();
      for (long i = 0; i < 6; i++) {
        parts.push_back(
            model.logits(
                ModelInputs.answering(IDS, MASK, answer.narrow(1, i, 1)).withCache(cache)));
      }

      assertThat(cache.hasMemory()).isTrue();
      assertThat(Fixtures.distance(cat(parts, 1), whole)).isLessThan(LIMIT);
    }
  }

  @Test
  void rows_can_be_dropped_and_doubled_on_the_way() {
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = any("llama");
        KvCache cache = model.newCache(16)) {
      Tensor whole = model.logits(ModelInputs.of(IDS, MASK));
      stepwise(model, cache, MASK, 9);
      var rows = Tensor.create(new long[] {2, 0, 2}, 3);

      cache.select(2, 0, 2);
      Tensor last =
          model.logits(
              ModelInputs.next(
                  IDS.index_select(0, rows).narrow(1, 9, 1), MASK.index_select(0, rows), cache));

      assertThat(Fixtures.distance(last, whole.index_select(0, rows).narrow(1, 9, 1)))
          .isLessThan(LIMIT);
    }
  }

  @Test
  void caches_of_different_length_stack_into_one() {
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = any("mistral");
        KvCache first = model.newCache(16);
        KvCache second = model.newCache(16)) {
      Tensor shorter = IDS.narrow(0, 0, 1).narrow(1, 3, 7); // the first row without its padding
      Tensor longer = IDS.narrow(0, 1, 1);
      model.hidden(ModelInputs.next(shorter.narrow(1, 0, 6), null, first));
      model.hidden(ModelInputs.next(longer.narrow(1, 0, 9), null, second));

      try (KvCache both = KvCache.stacked(List.of(first, second))) {
        Tensor last =
            model.logits(
                ModelInputs.next(IDS.narrow(0, 0, 2).narrow(1, 9, 1), MASK.narrow(0, 0, 2), both));

        Tensor whole = model.logits(ModelInputs.of(IDS, MASK)).narrow(0, 0, 2).narrow(1, 9, 1);
        assertThat(both.length()).isEqualTo(10);
        assertThat(Fixtures.distance(last, whole)).isLessThan(LIMIT);
      }
    }
  }

  @Test
  void a_copy_goes_its_own_way() {
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = any("llama");
        KvCache cache = model.newCache(16)) {
      stepwise(model, cache, null, 8);

      try (KvCache copy = cache.copy()) {
        model.hidden(ModelInputs.next(IDS.narrow(1, 0, 1), null, copy));
        Tensor after = model.logits(ModelInputs.next(IDS.narrow(1, 8, 1), null, cache));

        Tensor whole = model.logits(ModelInputs.of(IDS)).narrow(1, 8, 1);
        assertThat(copy.length()).isEqualTo(9);
        assertThat(Fixtures.distance(after, whole)).isLessThan(LIMIT);
      }
    }
  }

  @Test
  void a_stack_that_fails_frees_what_it_had_made() {
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        var cache = new KvCache(2, 4)) {
      Tensor k = ones(1, 1, 2, 4);
      cache.append(0, k, k); // and nothing to the second layer
      cache.advance(2);
      long before = Pointer.totalCount();

      assertThatThrownBy(() -> KvCache.stacked(List.of(cache)))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage("layer 1 has not written to the cache yet");

      assertThat(Pointer.totalCount()).isLessThanOrEqualTo(before);
    }
  }

  @Test
  void a_mask_that_forgets_the_past_is_refused() {
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = any("llama");
        KvCache cache = model.newCache(16)) {
      stepwise(model, cache, null, 4);

      assertThatThrownBy(
              () ->
                  model.hidden(ModelInputs.next(IDS.narrow(1, 4, 1), MASK.narrow(1, 4, 1), cache)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(
              "attention_mask is [3, 1] but the batch has 3 rows of 5 tokens (4 of them in the"
                  + " cache); give one number a token");
    }
  }

  private static Model any(String name) {
    return Fixtures.golden(name + ".json").toFile().exists()
        ? Fixtures.goldenModel(name)
        : Fixtures.model(name);
  }

  private static Tensor stepwise(Model model, KvCache cache, @Nullable Tensor mask, long... steps) {
    var parts = new TensorVector();
    long from = 0;
    for (long step : steps) {
      parts.push_back(
          model.logits(
              ModelInputs.next(
                  IDS.narrow(1, from, step),
                  mask == null ? null : mask.narrow(1, 0, from + step),
                  cache)));
      from += step;
    }
    assertThat(cache.length()).isEqualTo(from);
    return cat(parts, 1);
  }
}
