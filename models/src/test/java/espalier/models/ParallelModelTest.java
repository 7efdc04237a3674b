package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.nn.Adaptable;
import espalier.nn.ParallelStyle;
import espalier.nn.Scope;
import espalier.nn.parallel.InProcessCollective;
import espalier.nn.parallel.ParallelPlan;
import java.nio.FloatBuffer;
import java.time.Duration;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A model that several ranks compute gives the logits of one. */
class ParallelModelTest {

  private static final long[] ROW = {3, 17, 42, 9, 5, 28};

  private static float[] logits(Model model) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      return numbers(model.logits(inputs(model)));
    }
  }

  private static ModelInputs inputs(Model model) {
    Tensor ids = Fixtures.ids(ROW);
    return model.modelType().equals("t5")
        ? ModelInputs.answering(ids, null, Fixtures.ids(new long[] {0, 4, 11}))
        : ModelInputs.of(ids);
  }

  private static float[] numbers(Tensor tensor) {
    var numbers = new float[(int) tensor.numel()];
    FloatBuffer buffer = tensor.contiguous().createBuffer();
    buffer.get(numbers);
    return numbers;
  }

  private static double gap(float[] a, float[] b) {
    double gap = 0;
    double largest = 1;
    for (int i = 0; i < a.length; i++) {
      gap = Math.max(gap, Math.abs(a[i] - b[i]));
      largest = Math.max(largest, Math.abs(b[i]));
    }
    return gap / largest;
  }

  @ParameterizedTest
  @CsvSource({
    "llama, 2",
    "llama_tied, 4",
    "qwen3, 2",
    "mixtral, 2",
    "gpt2, 2",
    "opt, 2",
    "bert, 2",
    "t5, 2"
  })
  void several_ranks_give_the_logits_of_one(String id, int size) {
    float[] alone;
    try (Model model = Fixtures.model(id)) {
      alone = logits(model);
    }

    List<float[]> together =
        InProcessCollective.run(
            size,
            Duration.ofSeconds(30),
            ranks -> {
              try (var _ = Scope.open();
                  Model model = Fixtures.model(id)) {
                ParallelPlan plan = model.parallelPlan(size);
                String embedding = model.inputEmbedding().orElseThrow();
                boolean even = model.config().vocabulary() % size == 0;
                (even ? plan.with(embedding, ParallelStyle.EMBEDDING_ROW) : plan)
                    .apply(model, ranks);
                assertThat(model.layers().values())
                    .anyMatch(
                        l ->
                            l instanceof Adaptable a
                                && a.partition() != null
                                && a.partition().splits());
                return logits(model);
              }
            });

    together.forEach(each -> assertThat(gap(each, alone)).isLessThan(1e-5));
  }

  @Test
  void heads_that_can_not_be_dealt_are_refused() {
    try (Model model = Fixtures.model("llama")) {
      assertThatThrownBy(() -> model.parallelPlan(4))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessageContaining("4 heads and 2 key heads")
          .hasMessageContaining("4 ranks");
    }
  }
}
