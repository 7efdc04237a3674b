package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.cross_entropy;
import static org.bytedeco.pytorch.global.torch.embedding;
import static org.bytedeco.pytorch.global.torch.linear;
import static org.bytedeco.pytorch.global.torch.manual_seed;
import static org.bytedeco.pytorch.global.torch.randn;

import espalier.nn.Scope;
import espalier.text.Example;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.AdamWOptions;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TrainerTest {

  /** Predicts the next token from the present one alone, through a frozen head. */
  private static class Bigram implements Trainee {
    final Tensor table;
    final Tensor head;

    Bigram() {
      manual_seed(3);
      table = randn(11, 6).set_requires_grad(true);
      head = randn(11, 6);
    }

    private Tensor hidden(Batch batch) {
      return embedding(table, batch.inputIds()).view(-1, 6).index_select(0, batch.sources());
    }

    @Override
    public Tensor lossSum(Batch batch) {
      return CausalLoss.frozenHead(hidden(batch), batch.targets(), head);
    }

    @Override
    public Judged judge(Batch batch) {
      return CausalLoss.judge(hidden(batch), batch.targets(), h -> linear(h, head), 11);
    }

    @Override
    public Map<String, Tensor> parameters() {
      var all = new LinkedHashMap<String, Tensor>();
      all.put("table", table);
      return all;
    }

    @Override
    public void train(boolean on) {}
  }

  private static AdamW adamW(Bigram model) {
    return new AdamW(List.of(new ParameterGroup("all", model.parameters(), 0.05, 0.1)));
  }

  private static Example example(int... ids) {
    int[] labels = ids.clone();
    labels[1] = Example.IGNORED;
    return new Example(ids, labels);
  }

  private static final List<Example> EXAMPLES =
      List.of(example(1, 2, 3, 4), example(5, 6, 7), example(8, 9, 10, 1, 2, 3), example(4, 3, 2));

  private static Tensor after(List<Batch> batches) {
    var model = new Bigram();
    try (var optimizer = adamW(model)) {
      for (int i = 0; i < 3; i++) {
        new Trainer(model, optimizer, 1).step(batches, 1);
      }
    }
    return model.table.detach();
  }

  @Test
  void accumulated_micro_batches_take_the_step_of_one_large_batch() {
    Tensor one = after(List.of(Batch.padded(EXAMPLES, 0)));

    Tensor two =
        after(
            List.of(
                Batch.padded(EXAMPLES.subList(0, 1), 0), Batch.padded(EXAMPLES.subList(1, 4), 0)));

    assertThat(two.allclose(one, 1e-6, 1e-6, false)).isTrue();
  }

  /** Also wants the table small. */
  private static final class Penalised extends Bigram {
    int asked;

    @Override
    public Tensor penalty() {
      asked++;
      return table.square().sum();
    }
  }

  private static Tensor gradient(Bigram model, List<Batch> batches) {
    // Plain descent at rate 1, so that the step is the gradient.
    Tensor before = model.table.detach().clone();
    try (var sgd = new Sgd(List.of(new ParameterGroup("all", model.parameters(), 1, 0)), 0)) {
      new Trainer(model, sgd, 0).step(batches, 1);
    }
    return before.sub(model.table.detach());
  }

  @Test
  void a_penalty_counts_once_a_step_whatever_the_micro_batches() {
    var batches =
        List.of(Batch.padded(EXAMPLES.subList(0, 1), 0), Batch.padded(EXAMPLES.subList(1, 4), 0));
    var model = new Penalised();
    Tensor twice = model.table.detach().mul(new org.bytedeco.pytorch.Scalar(2));

    Tensor with = gradient(model, batches);

    assertThat(model.asked).isOne();
    assertThat(with.allclose(gradient(new Bigram(), batches).add(twice), 1e-5, 1e-5, false))
        .isTrue();
  }

  @Test
  void the_loss_that_is_told_is_that_of_the_tokens_alone() {
    var batches = List.of(Batch.padded(EXAMPLES, 0));
    var with = new Penalised();
    var without = new Bigram();
    try (var one = adamW(with);
        var other = adamW(without)) {
      assertThat(new Trainer(with, one, 1).step(batches, 1).loss())
          .isEqualTo(new Trainer(without, other, 1).step(batches, 1).loss());
    }
  }

  @Test
  void packed_rows_take_the_step_of_padded_rows() {
    Tensor padded = after(List.of(Batch.padded(EXAMPLES, 0)));

    Tensor packed = after(List.of(Batch.packed(EXAMPLES, 8, 0)));

    assertThat(packed.allclose(padded, 1e-6, 1e-6, false)).isTrue();
  }

  @Test
  void the_same_run_gives_the_same_bits() {
    var batches = List.of(Batch.packed(EXAMPLES, 8, 0));

    assertThat(after(batches).equal(after(batches))).isTrue();
  }

  @Test
  void the_chunked_losses_are_cross_entropy_with_its_gradients() {
    manual_seed(1);
    try (var _ = Scope.graph()) {
      // 40 rows over a vocabulary so large that a chunk holds 16
      Tensor hidden = randn(40, 4).set_requires_grad(true);
      Tensor head = randn(600_000, 4);
      Tensor targets =
          org.bytedeco.pytorch.global.torch.randint(600_000, new long[] {40}).to(ScalarType.Long);
      cross_entropy(linear(hidden, head), targets).mul(hundredth()).backward();
      Tensor want = hidden.grad().clone();
      double wantLoss = cross_entropy(linear(hidden, head), targets).item_double() * 40;
      for (boolean frozen : new boolean[] {true, false}) {
        hidden.mutable_grad().reset();

        Tensor loss =
            frozen
                ? CausalLoss.frozenHead(hidden, targets, head)
                : CausalLoss.anyHead(hidden, targets, h -> linear(h, head), 600_000);
        loss.div(new org.bytedeco.pytorch.Scalar(40)).mul(hundredth()).backward();

        assertThat(loss.item_double())
            .isCloseTo(wantLoss, org.assertj.core.data.Offset.offset(1e-2));
        assertThat(hidden.grad().allclose(want, 1e-4, 1e-7, false)).isTrue();
      }
      var judged = CausalLoss.judge(hidden.detach(), targets, h -> linear(h, head), 600_000);
      assertThat(judged.lossSum()).isCloseTo(wantLoss, org.assertj.core.data.Offset.offset(1e-2));
    }
  }

  private static org.bytedeco.pytorch.Scalar hundredth() {
    return new org.bytedeco.pytorch.Scalar(0.01);
  }

  @ParameterizedTest
  @ValueSource(doubles = {0, 0.1})
  void adamw_takes_the_steps_of_libtorch(double decay) {
    Tensor ours = randn(5, 3).set_requires_grad(true);
    Tensor theirs = ours.detach().clone().set_requires_grad(true);
    var options = new AdamWOptions(0.01);
    options.weight_decay().put(decay);
    var reference = new org.bytedeco.pytorch.AdamW(new TensorVector(theirs), options);
    try (var adamW =
        new AdamW(List.of(new ParameterGroup("all", Map.of("p", ours), 0.01, decay)))) {
      for (int i = 0; i < 5; i++) {
        for (Tensor p : new Tensor[] {ours, theirs}) {
          p.mutable_grad().reset();
          p.pow(new org.bytedeco.pytorch.Scalar(3)).sum().backward();
        }

        adamW.step(1);
        reference.step();

        assertThat(ours.allclose(theirs, 1e-6, 1e-7, false)).isTrue();
      }
    }
  }

  @Test
  void an_optimizer_that_is_saved_and_restored_goes_on_as_if_never_stopped() {
    Tensor a = randn(4).set_requires_grad(true);
    Tensor b = a.detach().clone().set_requires_grad(true);
    var first = new AdamW(List.of(new ParameterGroup("all", Map.of("p", a), 0.1, 0)));
    step(first, a);
    step(first, a);
    var second = new AdamW(List.of(new ParameterGroup("all", Map.of("p", b), 0.1, 0)));
    try (var _ = new org.bytedeco.pytorch.NoGradGuard()) {
      b.copy_(a);
    }
    second.restore(first.state());

    step(first, a);
    step(second, b);

    assertThat(a.equal(b)).isTrue();
  }

  private static void step(Optimizer optimizer, Tensor p) {
    p.mutable_grad().reset();
    p.sin().sum().backward();
    optimizer.step(1);
  }

  @Test
  void a_state_of_another_run_is_refused_by_name() {
    var optimizer = new AdamW(List.of(new ParameterGroup("all", Map.of("p", randn(2)), 0.1, 0)));

    assertThatThrownBy(() -> optimizer.restore(Map.of("q/exp_avg", randn(2))))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("q/exp_avg");
  }

  @Test
  void a_loss_that_is_not_a_number_ends_the_step_and_leaves_the_parameters() {
    var model = new Bigram();
    model.head.fill_(new org.bytedeco.pytorch.Scalar(Double.NaN));
    Tensor before = model.table.detach().clone();

    assertThatThrownBy(
            () -> new Trainer(model, adamW(model), 1).step(List.of(Batch.padded(EXAMPLES, 0)), 1))
        .isInstanceOf(DivergedException.class)
        .hasMessageContaining("lower learning_rate");

    assertThat(model.table.equal(before)).isTrue();
  }

  @Test
  void a_gradient_is_clipped_to_the_norm_that_was_asked_for() {
    var model = new Bigram();
    try (var optimizer = new Sgd(List.of(new ParameterGroup("all", model.parameters(), 1, 0)), 0)) {
      Tensor before = model.table.detach().clone();

      var step = new Trainer(model, optimizer, 0.01).step(List.of(Batch.padded(EXAMPLES, 0)), 1);

      assertThat(step.gradNorm()).isGreaterThan(0.01);
      assertThat(model.table.detach().sub(before).norm().item_double())
          .isCloseTo(0.01, org.assertj.core.data.Offset.offset(1e-5));
    }
  }
}
