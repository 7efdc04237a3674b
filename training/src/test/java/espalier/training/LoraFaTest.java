package espalier.training;

import static espalier.training.Named.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.manual_seed;
import static org.bytedeco.pytorch.global.torch.randn;
import static org.bytedeco.pytorch.global.torch.zeros;

import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LoraFaTest {

  private static final String A = "q.lora_A.weight";
  private static final String B = "q.lora_B.weight";
  private static final double RATE = 0.01;

  @BeforeEach
  void seed() {
    manual_seed(5);
  }

  private static Tensor parameter(Tensor values) {
    return values.set_requires_grad(true);
  }

  private static void gradient(Tensor p, Tensor g) {
    p.mutable_grad().reset();
    p.mutable_grad().put(g.to(p.scalar_type()));
  }

  /** The method as its page gives it, in float64 and by the inverse itself. */
  private static final class Oracle {
    final double rate;
    final double decay;
    final boolean corrected;
    Tensor p;
    Tensor m;
    Tensor v;
    int t;

    Oracle(Tensor p, double rate, double decay, boolean corrected) {
      this.p = p.detach().to(ScalarType.Double).clone();
      this.m = p.detach().to(ScalarType.Double).mul(new Scalar(0));
      this.v = m.clone();
      this.rate = rate;
      this.decay = decay;
      this.corrected = corrected;
    }

    static Tensor projected(Tensor g, Tensor a, double s) {
      Tensor wide = a.detach().to(ScalarType.Double);
      Tensor gram = wide.matmul(wide.t());
      gram.add_(torch.eye(gram.size(0)).to(ScalarType.Double), new Scalar(1e-8));
      return g.to(ScalarType.Double).matmul(gram.inverse()).mul(new Scalar(1 / (s * s)));
    }

    void step(Tensor g) {
      t++;
      m = m.mul(new Scalar(0.9)).add(g, new Scalar(0.1));
      v = v.mul(new Scalar(0.999)).add(g.square(), new Scalar(0.001));
      double size =
          corrected ? rate * Math.sqrt(1 - Math.pow(0.999, t)) / (1 - Math.pow(0.9, t)) : rate;
      p = p.sub(m.div(v.sqrt().add(new Scalar(1e-6))), new Scalar(size));
      p = p.sub(p, new Scalar(rate * decay));
    }

    boolean near(Tensor ours) {
      return ours.detach().to(ScalarType.Double).allclose(p, 1e-5, 1e-6, false);
    }
  }

  private static LoraFa loraFa(Map<String, Tensor> all, double scaling, double decay) {
    var pairs = Map.of(B, LoraPair.of(at(all, A), at(all, B), scaling));
    return new LoraFa(new ParameterGroup("all", all, RATE, decay), pairs, LoraFa.RATES, true);
  }

  private static Map<String, Tensor> factors() {
    var all = new LinkedHashMap<String, Tensor>();
    all.put(A, parameter(randn(3, 6)));
    all.put("q.lora_magnitude_vector", parameter(randn(5)));
    all.put("q.lora_B.bias", parameter(randn(5)));
    all.put(B, parameter(randn(5, 3)));
    all.put("e.lora_embedding_A", parameter(randn(3, 9)));
    return all;
  }

  @ParameterizedTest
  @CsvSource({"2, 0", "2, 0.1", "0.25, 0.1", "1.4142135623730951, 0"})
  void several_steps_are_those_of_the_formula(double scaling, double decay) {
    var all = factors();
    var oracles = new LinkedHashMap<String, Oracle>();
    all.forEach((key, p) -> oracles.put(key, new Oracle(p, RATE, decay, true)));
    Tensor a = at(all, A).detach().clone();

    try (var optimizer = loraFa(all, scaling, decay)) {
      for (int i = 0; i < 6; i++) {
        all.forEach(
            (key, p) -> {
              if (!key.equals(A)) {
                Tensor g = randn(p.sizes());
                gradient(p, g);
                boolean pair = key.equals(B);
                at(oracles, key)
                    .step(
                        pair ? Oracle.projected(g, at(all, A), scaling) : g.to(ScalarType.Double));
              }
            });
        optimizer.step(1);
      }
    }

    all.forEach(
        (key, p) ->
            assertThat(key.equals(A) ? p.equal(a) : at(oracles, key).near(p)).as(key).isTrue());
  }

  @Test
  void a_stays_frozen_after_something_else_has_switched_its_gradients_on() {
    var all = factors();
    Tensor a = at(all, A);
    Tensor before = a.detach().clone();

    try (var optimizer = loraFa(all, 2, 0)) {
      a.set_requires_grad(true);
      gradient(a, randn(3, 6));
      gradient(at(all, B), randn(5, 3));
      optimizer.step(1);
    }

    assertThat(a.requires_grad()).isFalse();
    assertThat(a.equal(before)).isTrue();
  }

  @Test
  void without_bias_correction_the_rate_is_the_plain_one() {
    var all = factors();
    var oracle = new Oracle(at(all, B), RATE, 0, false);
    var pairs = Map.of(B, LoraPair.of(at(all, A), at(all, B), 2));
    var group = new ParameterGroup("all", all, RATE, 0);

    try (var optimizer = new LoraFa(group, pairs, LoraFa.RATES, false)) {
      for (int i = 0; i < 3; i++) {
        Tensor g = randn(5, 3);
        gradient(at(all, B), g);
        oracle.step(Oracle.projected(g, at(all, A), 2));
        optimizer.step(1);
      }
    }

    assertThat(oracle.near(at(all, B))).isTrue();
  }

  @Test
  void the_projected_step_of_b_is_nearest_to_the_step_of_the_whole_weight() {
    // ΔW = s·ĝ·A is the orthogonal projection of the whole gradient G on A's rows, where g = s·G·Aᵀ
    Tensor whole = randn(5, 6).to(ScalarType.Double);
    Tensor a = randn(3, 6).to(ScalarType.Double);
    var pair = LoraPair.of(a, randn(5, 3), 0.5);

    Tensor hat = pair.shapedAsB(inverted(pair, whole.matmul(a.t()).mul(new Scalar(0.5))));
    Tensor left = whole.sub(hat.matmul(a), new Scalar(0.5));

    assertThat(left.matmul(a.t()).abs().max().item_double()).isLessThan(1e-6);
  }

  private static Tensor inverted(LoraPair pair, Tensor g) {
    Tensor a = pair.blocksOfA(pair.a());
    return pair.blocksOfB(g)
        .matmul(Ridge.inverse(a.matmul(a.transpose(1, 2)), 1e-8))
        .mul(new Scalar(1 / (pair.scaling() * pair.scaling())));
  }

  @Test
  void pairs_of_blocks_are_projected_block_by_block() {
    Tensor a = randn(4, 6).to(ScalarType.Double);
    Tensor g = randn(6, 4).to(ScalarType.Double);
    var columns = new LoraPair(a, randn(6, 4), 2, 2, LoraPair.Split.COLUMNS);
    var rows = new LoraPair(a, randn(6, 2), 2, 2, LoraPair.Split.ROWS);
    var experts = new LoraPair(a, randn(6, 4), 2, 2, LoraPair.Split.EXPERTS);

    Tensor first = Oracle.projected(g.narrow(1, 0, 2), a.narrow(0, 0, 2), 2);
    assertThat(columns.shapedAsB(inverted(columns, g)).narrow(1, 0, 2).allclose(first)).isTrue();

    Tensor below = Oracle.projected(g.narrow(0, 3, 3).narrow(1, 0, 2), a.narrow(0, 2, 2), 2);
    Tensor ofRows = rows.shapedAsB(inverted(rows, g.narrow(1, 0, 2)));
    assertThat(ofRows.narrow(0, 3, 3).allclose(below)).isTrue();

    // expert 1 has the second column of each rank
    Tensor own = g.view(6, 2, 2).select(2, 1);
    Tensor ofExpert = Oracle.projected(own, a.narrow(0, 2, 2), 2);
    Tensor ours = experts.shapedAsB(inverted(experts, g)).view(6, 2, 2).select(2, 1);
    assertThat(ours.allclose(ofExpert)).isTrue();
  }

  @Test
  void a_convolution_is_projected_as_the_matrices_that_it_is() {
    Tensor a = parameter(randn(3, 2, 5, 5));
    Tensor b = parameter(randn(4, 3, 1, 1));
    Tensor g = randn(4, 3, 1, 1);
    var oracle = new Oracle(b.flatten(1, -1), RATE, 0, true);
    oracle.step(Oracle.projected(g.flatten(1, -1), a.flatten(1, -1), 2));
    var all = Map.of(A, a, B, b);

    try (var optimizer = loraFa(all, 2, 0)) {
      gradient(b, g);
      optimizer.step(1);
    }

    assertThat(oracle.near(b.flatten(1, -1))).isTrue();
  }

  @Test
  void every_a_is_frozen_and_all_else_goes_on_training() {
    var all = factors();
    all.put("k.lora_A.weight", parameter(randn(3, 6))); // without a B
    all.values().forEach(p -> gradient(p, randn(p.sizes())));

    try (var optimizer = loraFa(all, 2, 0)) {
      assertThat(optimizer.groups().getFirst().parameters())
          .containsOnlyKeys("q.lora_magnitude_vector", "q.lora_B.bias", B, "e.lora_embedding_A");
    }

    all.forEach(
        (key, p) -> {
          assertThat(p.requires_grad()).as(key).isEqualTo(!key.contains("lora_A"));
          assertThat(p.grad().defined()).as(key).isEqualTo(!key.contains("lora_A"));
        });
  }

  @Test
  void an_a_that_is_frozen_already_still_makes_a_pair() {
    var all = factors();
    Tensor a = at(all, A).set_requires_grad(false);
    all.remove(A);
    var oracle = new Oracle(at(all, B), RATE, 0, true);
    Tensor g = randn(5, 3);
    oracle.step(Oracle.projected(g, a, 2));
    var pairs = Map.of(B, LoraPair.of(a, at(all, B), 2));

    try (var optimizer =
        new LoraFa(new ParameterGroup("all", all, RATE, 0), pairs, LoraFa.RATES, true)) {
      gradient(at(all, B), g);
      optimizer.step(1);
    }

    assertThat(oracle.near(at(all, B))).isTrue();
  }

  @Test
  void a_b_without_a_gradient_is_passed_over() {
    var all = factors();
    Tensor before = at(all, B).detach().clone();

    try (var optimizer = loraFa(all, 2, 0.1)) {
      optimizer.step(1);

      assertThat(optimizer.state()).isEmpty();
    }

    assertThat(at(all, B).equal(before)).isTrue();
  }

  @Test
  void the_projection_keeps_the_precision_of_float32() {
    // A product rounded to bfloat16 is off by 4e-3.
    Tensor a = randn(8, 64);
    Tensor g = randn(32, 8);
    var pair = LoraPair.of(a, randn(32, 8), 2);

    Tensor ours = pair.shapedAsB(inverted(pair, g)).to(ScalarType.Double);
    Tensor want = Oracle.projected(g, a, 2);

    assertThat(ours.sub(want).norm().item_double() / want.norm().item_double()).isLessThan(1e-5);
  }

  @Test
  void backward_keeps_what_a_gives_and_not_the_input() {
    Tensor x = randn(7, 6);
    var all = factors();
    try (var _ = loraFa(all, 2, 0)) {

      Tensor hidden = x.matmul(at(all, A).t());

      // no node of the graph holds x: the product of two tensors without gradients has none
      assertThat(hidden.requires_grad()).isFalse();
      assertThat(hidden.matmul(at(all, B).t()).requires_grad()).isTrue();
    }
  }

  @Test
  void what_can_not_be_is_refused_before_anything_is_frozen() {
    var all = factors();
    var group = new ParameterGroup("all", all, RATE, 0);

    assertThatThrownBy(() -> new LoraFa(group, Map.of(), LoraFa.RATES, true))
        .hasMessageContaining("no lora_A with a lora_B that trains");
    assertThatThrownBy(() -> loraFa(all, 0, 0)).hasMessageContaining("lora_alpha");
    assertThatThrownBy(() -> LoraPair.of(randn(3, 6), randn(5, 4), 2))
        .hasMessageContaining("no pair of 1 blocks");
    assertThatThrownBy(() -> new AdamRates(1, 0.999, 1e-6)).hasMessageContaining("[0, 1)");
    assertThatThrownBy(() -> new AdamRates(0.9, -0.1, 1e-6)).hasMessageContaining("[0, 1)");
    assertThatThrownBy(() -> new AdamRates(0.9, 0.999, -1)).hasMessageContaining("eps is -1.0");
    assertThatThrownBy(() -> new ParameterGroup("all", all, -1, 0))
        .hasMessageContaining("learning_rate is -1.0");
    assertThatThrownBy(() -> new ParameterGroup("all", all, 1, -1))
        .hasMessageContaining("weight_decay is -1.0");
    assertThat(at(all, A).requires_grad()).isTrue();
  }

  @Test
  void a_restored_state_freezes_a_again() {
    var all = factors();
    try (var optimizer = loraFa(all, 2, 0)) {
      at(all, A).set_requires_grad(true); // as loading an adapter does

      optimizer.restore(optimizer.state());
    }

    assertThat(at(all, A).requires_grad()).isFalse();
  }

  @Test
  void the_defaults_are_those_of_the_method() {
    assertThat(LoraFa.RATES).isEqualTo(new AdamRates(0.9, 0.999, 1e-6));
  }

  @Test
  void a_zero_b_moves_at_the_first_step() {
    var all = factors();
    try (var _ = new NoGradGuard()) {
      at(all, B).copy_(zeros(5, 3));
    }

    try (var optimizer = loraFa(all, 2, 0)) {
      gradient(at(all, B), randn(5, 3));
      optimizer.step(1);
    }

    // the first step of Adam is the rate, whatever the gradient
    assertThat(at(all, B).abs().min().item_double()).isGreaterThan(0.9 * RATE);
  }
}
