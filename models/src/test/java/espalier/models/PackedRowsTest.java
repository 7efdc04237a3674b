package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.nn.Scope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class PackedRowsTest {

  private static final Tensor IDS = Fixtures.ids(new long[] {5, 17, 22, 9, 3, 30, 11, 6, 19, 0});
  private static final Tensor SEGMENTS = Fixtures.ids(new long[] {1, 1, 1, 2, 2, 2, 2, 2, 3, 0});

  @ParameterizedTest
  @ValueSource(strings = {"llama", "qwen3", "gemma3_text", "opt", "gpt2", "mixtral"})
  void examples_in_one_row_have_the_logits_of_each_alone(String id) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = Fixtures.model(id)) {
      Tensor packed = model.logits(ModelInputs.packed(IDS, SEGMENTS));

      for (long[] range : new long[][] {{0, 3}, {3, 5}, {8, 1}}) {
        Tensor alone = model.logits(ModelInputs.of(IDS.narrow(1, range[0], range[1])));
        // float32; the logits reach 100
        assertThat(Fixtures.distance(packed.narrow(1, range[0], range[1]), alone)).isLessThan(3e-4);
      }
      assertThat(packed.isfinite().all().item_bool()).isTrue();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "qwen3", "gemma3_text", "opt", "gpt2", "mixtral"})
  void examples_that_share_what_they_begin_with_have_the_logits_of_each_alone(String id) {
    // 5 17 22 | 9 3 and 5 17 22 | 30 11 6 and 5 17 22 30 11 | 19 20 21 22 23, then padding
    Tensor ids = Fixtures.ids(new long[] {5, 17, 22, 9, 3, 30, 11, 6, 19, 20, 21, 22, 23, 0});
    Tensor reach = Fixtures.ids(new long[] {13, 13, 13, 5, 5, 13, 13, 8, 13, 13, 13, 13, 13, 0});
    long[][] paths = {{0, 1, 2, 3, 4}, {0, 1, 2, 5, 6, 7}, {0, 1, 2, 5, 6, 8, 9, 10, 11, 12}};
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        Model model = Fixtures.model(id)) {
      Tensor shared = model.logits(ModelInputs.reaching(ids, reach));

      for (long[] path : paths) {
        Tensor places = Fixtures.ids(path).flatten();
        Tensor alone = model.logits(ModelInputs.of(ids.index_select(1, places)));
        assertThat(Fixtures.distance(shared.index_select(1, places), alone)).isLessThan(3e-4);
      }
      assertThat(shared.isfinite().all().item_bool()).isTrue();
    }
  }

  @Test
  void a_classifier_refuses_packed_rows() {
    try (Model model = Fixtures.model("bert")) {
      assertThatThrownBy(() -> model.logits(ModelInputs.packed(IDS, SEGMENTS)))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("packed");
    }
  }

  @Test
  void packed_rows_beside_a_mask_are_refused() {
    assertThatThrownBy(() -> new ModelInputs(IDS, SEGMENTS, null, null, SEGMENTS, null, null, null))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("packed rows");
  }
}
