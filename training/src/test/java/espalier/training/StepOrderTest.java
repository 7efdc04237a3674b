package espalier.training;

import static espalier.training.Named.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.embedding;
import static org.bytedeco.pytorch.global.torch.linear;
import static org.bytedeco.pytorch.global.torch.manual_seed;
import static org.bytedeco.pytorch.global.torch.randn;

import espalier.nn.Scope;
import espalier.text.Example;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;

/** The optimizers for LoRA within a step: accumulate, clip, precondition, rate. */
class StepOrderTest {

  private static final String A = "q.lora_A.weight";
  private static final String B = "q.lora_B.weight";
  private static final List<Example> EXAMPLES =
      List.of(example(1, 2, 3, 4), example(5, 6, 7), example(8, 9, 10, 1, 2, 3), example(4, 3, 2));

  private static Example example(int... ids) {
    return new Example(ids, ids.clone());
  }

  /** Predicts the next token from the present one, through one layer of LoRA. */
  private static class Bigram implements Trainee {
    final Map<String, Tensor> parameters = new LinkedHashMap<>();
    private final Tensor table;
    private final Tensor head;
    private double scaledBy = 1;

    Bigram() {
      manual_seed(3);
      parameters.put(A, randn(2, 6).set_requires_grad(true));
      parameters.put(B, randn(6, 2).set_requires_grad(true));
      table = randn(11, 6);
      head = randn(11, 6);
    }

    Tensor hidden(Batch batch) {
      Tensor x = embedding(table, batch.inputIds()).view(-1, 6).index_select(0, batch.sources());
      return x.add(linear(linear(x, at(parameters, A)), at(parameters, B)));
    }

    @Override
    public Tensor lossSum(Batch batch) {
      return CausalLoss.frozenHead(hidden(batch), batch.targets(), head).mul(new Scalar(scaledBy));
    }

    @Override
    public Judged judge(Batch batch) {
      return CausalLoss.judge(hidden(batch), batch.targets(), h -> linear(h, head), 11);
    }

    @Override
    public Map<String, Tensor> parameters() {
      return parameters;
    }

    @Override
    public void train(boolean on) {}
  }

  private static LoraPair pair(Bigram model) {
    return LoraPair.of(at(model.parameters, A), at(model.parameters, B), 1);
  }

  private static Riemannian riemannian(Bigram model) {
    var group = new ParameterGroup("all", model.parameters, 0.1, 0);
    return new Riemannian(new Sgd(List.of(group), 0), List.of(pair(model)), 0.01);
  }

  private static LoraFa loraFa(Bigram model) {
    var group = new ParameterGroup("all", model.parameters, 0.1, 0);
    return new LoraFa(group, Map.of(B, pair(model)), LoraFa.RATES, true);
  }

  private static Tensor moved(Bigram model, String key) {
    return at(model.parameters, key).detach().sub(at(new Bigram().parameters, key).detach());
  }

  @Test
  void gradients_are_clipped_before_they_are_preconditioned() {
    var clipped = new Bigram();
    var free = new Bigram();
    var batches = List.of(Batch.padded(EXAMPLES, 0));
    double bound = 0.01;
    double norm;
    try (var one = riemannian(clipped);
        var other = riemannian(free)) {
      norm = new Trainer(clipped, one, bound).step(batches, 1).gradNorm();
      new Trainer(free, other, 0).step(batches, 1);
    }

    // The preconditioner is linear in the gradient, so clipping first scales the step by
    // bound / norm of the gradients as they came; clipping after would bound the step itself.
    assertThat(norm).isGreaterThan(10 * bound);
    for (String key : List.of(A, B)) {
      Tensor want = moved(free, key).mul(new Scalar(bound / norm));
      assertThat(moved(clipped, key).allclose(want, 1e-3, 1e-7, false)).as(key).isTrue();
    }
  }

  @Test
  void gradients_are_accumulated_before_they_are_preconditioned() {
    for (boolean fa : new boolean[] {true, false}) {
      var whole = new Bigram();
      var parts = new Bigram();
      try (Optimizer one = fa ? loraFa(whole) : riemannian(whole);
          Optimizer other = fa ? loraFa(parts) : riemannian(parts)) {
        new Trainer(whole, one, 1).step(List.of(Batch.padded(EXAMPLES, 0)), 1);
        new Trainer(parts, other, 1)
            .step(
                List.of(
                    Batch.padded(EXAMPLES.subList(0, 1), 0),
                    Batch.padded(EXAMPLES.subList(1, 4), 0)),
                1);
      }

      for (String key : List.of(A, B)) {
        assertThat(moved(parts, key).allclose(moved(whole, key), 1e-4, 1e-6, false)).isTrue();
      }
    }
  }

  @Test
  void the_schedule_multiplies_the_step_and_not_the_gradient() {
    for (boolean fa : new boolean[] {true, false}) {
      var full = new Bigram();
      var half = new Bigram();
      var batches = List.of(Batch.padded(EXAMPLES, 0));
      try (Optimizer one = fa ? loraFa(full) : riemannian(full);
          Optimizer other = fa ? loraFa(half) : riemannian(half)) {
        new Trainer(full, one, 1).step(batches, 1);
        new Trainer(half, other, 1).step(batches, 0.5);
      }

      Tensor want = moved(full, B).mul(new Scalar(0.5));
      assertThat(moved(half, B).allclose(want, 1e-4, 1e-6, false)).isTrue();
    }
  }

  @Test
  void a_scaled_loss_that_is_unscaled_before_the_step_changes_nothing() {
    for (boolean fa : new boolean[] {true, false}) {
      var plain = new Bigram();
      var scaled = new Bigram();
      scaled.scaledBy = 1024; // a power of two, so that no digit is lost
      Batch batch = Batch.padded(EXAMPLES, 0);
      try (Optimizer one = fa ? loraFa(plain) : riemannian(plain);
          Optimizer other = fa ? loraFa(scaled) : riemannian(scaled)) {
        try (var _ = Scope.graph()) {
          plain.lossSum(batch).backward();
          scaled.lossSum(batch).backward();
        }
        one.step(1);
        for (Tensor p : scaled.parameters.values()) {
          if (p.grad().defined()) {
            p.mutable_grad().put(p.grad().div(new Scalar(1024.0)));
          }
        }
        other.step(1);
      }

      assertThat(moved(scaled, B).allclose(moved(plain, B), 1e-5, 1e-7, false)).isTrue();
    }
  }

  /** Has a loss of plain operations, whose handles are counted exactly. */
  private static final class Plain extends Bigram {
    @Override
    public Tensor lossSum(Batch batch) {
      return hidden(batch).square().sum();
    }
  }

  @Test
  void three_hundred_steps_leave_no_native_object_behind() {
    var model = new Plain();
    var batches = List.of(Batch.padded(EXAMPLES, 0));
    var plus = new LoraPlus(1e-3, 4, 1e-6, 0.1).groups(model.parameters);
    try (var optimizer = new Riemannian(new AdamW(plus), List.of(pair(model)), 0.01)) {
      var trainer = new Trainer(model, optimizer, 1);
      trainer.step(batches, 1);
      long before = Pointer.totalCount();

      for (int step = 0; step < 300; step++) {
        trainer.step(batches, 1);
      }

      // A collection in between may only take away what earlier tests left.
      assertThat(Pointer.totalCount()).isLessThanOrEqualTo(before);
    }
  }

  @Test
  void the_model_is_asked_for_its_parameters_once_a_run() {
    int[] asked = {0};
    var model = new Bigram();
    Trainee counting =
        new Trainee() {
          @Override
          public Tensor lossSum(Batch batch) {
            return model.lossSum(batch);
          }

          @Override
          public Judged judge(Batch batch) {
            return model.judge(batch);
          }

          @Override
          public Map<String, Tensor> parameters() {
            asked[0]++;
            return model.parameters();
          }

          @Override
          public void train(boolean on) {}
        };
    try (var optimizer = riemannian(model)) {
      var trainer = new Trainer(counting, optimizer, 1);
      for (int step = 0; step < 3; step++) {
        trainer.step(List.of(Batch.padded(EXAMPLES, 0)), 1);
      }
    }

    assertThat(asked[0]).isOne();
  }
}
