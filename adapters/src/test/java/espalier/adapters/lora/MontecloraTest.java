package espalier.adapters.lora;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import espalier.adapters.Adapters;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.RandomState;
import espalier.nn.Recompute;
import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

class MontecloraTest {

  private final Tree.Draw draw = new Tree.Draw(6);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static LoraConfigBuilder builder() {
    return LoraConfig.builder()
        .r(2)
        .alpha(3)
        .init(new LoraInit.Unset())
        .variant(new LoraVariant.Monteclora(3, true, 0.1, 0.2, 0.5, 150));
  }

  private Linear layer() {
    return new Linear(draw.normal(6, 8).to(ScalarType.Double), null);
  }

  private static MontecloraLinear trained(Linear layer) {
    var adapter = (MontecloraLinear) builder().build().create(layer, "l", Init.shared(1));
    adapter.to(layer.dtype());
    adapter.trainable(true);
    adapter.train(true);
    return adapter;
  }

  private MontecloraNoise noise() {
    Tensor g = draw.normal(2, 2);
    return new MontecloraNoise(draw.normal(3, 8, 2), g.matmul(g.t()), draw.normal(3));
  }

  private Tensor input() {
    return draw.normal(2, 5, 8).to(ScalarType.Double);
  }

  private static double at(Tensor t, long... index) {
    Tensor at = t.detach();
    for (long i : index) {
      at = at.select(0, i);
    }
    return at.item_double();
  }

  private static Tensor prior(MontecloraLinear adapter, String name) {
    return there(adapter.state().get("lora_monteclora_sampler." + name));
  }

  @Test
  void in_evaluation_it_is_plain_lora_bit_for_bit() {
    Linear layer = layer();
    MontecloraLinear adapter = trained(layer);
    var plain =
        (LoraLinear)
            builder().variant(new LoraVariant.Plain()).build().create(layer, "l", Init.shared(1));
    plain.to(ScalarType.Double);
    adapter.train(false);
    Tensor x = input();

    assertThat(adapter.first(x).equal(plain.first(x))).isTrue();
    assertThat(adapter.deltaWeight().equal(plain.deltaWeight())).isTrue();
    assertThat(adapter.divergence().item_double()).isZero();
    assertThat(adapter.entropy().item_double()).isZero();
  }

  @Test
  void a_given_draw_is_mixed_by_the_formula_of_the_paper() {
    Linear layer = layer();
    MontecloraLinear adapter = trained(layer);
    MontecloraNoise noise = noise();
    adapter.drawFrom(() -> noise);
    Tensor x = input();

    Tensor y = adapter.first(x);

    double[] w = weights(adapter, noise);
    double[][] a = new double[2][8];
    for (int i = 0; i < 2; i++) {
      double deviation = Math.exp(at(prior(adapter, "std_prior"), i));
      double c = Math.max(1e-3, deviation * deviation * at(noise.wishart(), i, i));
      assertThat(at(prior(adapter, "gaussian_var_prior"), i, i)).isCloseTo(c, within(1e-6));
      for (int k = 0; k < 8; k++) {
        for (int n = 0; n < 3; n++) {
          double e = 0.2 * Math.sqrt(c) * at(noise.normal(), n, k, i);
          a[i][k] += w[n] * (at(adapter.a(), i, k) + e);
        }
      }
    }
    Tensor effective = matrix(a);
    Tensor want =
        layer.base(x).add(x.matmul(effective.t()).matmul(adapter.b().t()).mul(new Scalar(1.5)));
    assertThat(gap(y, want)).isLessThan(1e-5);
  }

  private static double[] weights(MontecloraLinear adapter, MontecloraNoise noise) {
    double[] alpha = new double[3];
    double inverse = 0;
    double log = 0;
    for (int n = 0; n < 3; n++) {
      alpha[n] = Math.exp(at(prior(adapter, "expert_weights_prior"), n));
      inverse += 1 / alpha[n];
      log += Math.log(alpha[n]) / 3;
    }
    double[] w = new double[3];
    double sum = 0;
    for (int n = 0; n < 3; n++) {
      double variance = 1 / alpha[n] * (1 - 2.0 / 3) + inverse / 9 + 1e-6;
      w[n] = Math.exp(Math.sqrt(variance) * at(noise.dirichlet(), n) + Math.log(alpha[n]) - log);
      sum += w[n];
    }
    for (int n = 0; n < 3; n++) {
      w[n] /= sum;
      assertThat(at(adapter.weights(), n)).isCloseTo(w[n], within(1e-6));
    }
    return w;
  }

  private static Tensor matrix(double[][] values) {
    double[] flat = new double[values.length * values[0].length];
    for (int i = 0; i < values.length; i++) {
      System.arraycopy(values[i], 0, flat, i * values[0].length, values[0].length);
    }
    return Tensor.create(flat, values.length, values[0].length);
  }

  @Test
  void gradients_of_all_that_is_learned_match_finite_differences() {
    Linear layer = layer();
    MontecloraLinear adapter = trained(layer);
    MontecloraNoise noise = noise();
    adapter.drawFrom(() -> noise);
    Tensor x = input();

    adapter.first(x).tanh().sum().add(adapter.penalty()).backward();

    for (Map.Entry<String, Tensor> p : adapter.parameters().entrySet()) {
      Tensor flat = p.getValue().detach().view(-1);
      Tensor one = flat.select(0, 0);
      double at = one.item_double();
      one.fill_(new Scalar(at + 1e-5));
      double above = adapter.first(x).tanh().sum().add(adapter.penalty()).item_double();
      one.fill_(new Scalar(at - 1e-5));
      double below = adapter.first(x).tanh().sum().add(adapter.penalty()).item_double();
      one.fill_(new Scalar(at));
      assertThat(at(p.getValue().grad().view(-1), 0))
          .as(p.getKey())
          .isCloseTo((above - below) / 2e-5, within(1e-5));
    }
  }

  @Test
  void draws_come_from_the_runs_random_state() {
    MontecloraLinear adapter = trained(layer());
    Tensor x = input();
    RandomState.seed(4);
    Tensor one = adapter.first(x);
    Tensor two = adapter.first(x);
    RandomState.seed(4);
    Tensor again = adapter.first(x);

    assertThat(again.equal(one)).isTrue();
    assertThat(gap(two, one)).isGreaterThan(1e-4);
  }

  @Test
  void the_mean_of_the_wishart_draws_is_their_degrees_of_freedom() {
    RandomState.seed(1);
    double sum = 0;
    for (int i = 0; i < 500; i++) {
      try (var _ = Scope.open()) {
        sum += MontecloraNoise.drawn(1, 1, 3).wishart().diagonal().mean().item_double() / 500;
      }
    }

    assertThat(sum).isCloseTo(3, within(0.2)); // its deviation is about 0.06
  }

  @Test
  void gradients_are_the_same_when_the_block_is_computed_again() {
    Linear layer = layer();
    MontecloraLinear plain = trained(layer);
    MontecloraLinear again = trained(layer);
    Tensor x = input();

    RandomState.seed(3);
    plain.first(x).tanh().sum().backward();
    plain.penalty().backward();
    RandomState.seed(3);
    Recompute.in(x, h -> again.first(h).tanh()).sum().backward();
    again.penalty().backward();

    plain
        .parameters()
        .forEach(
            (name, p) ->
                assertThat(gap(there(again.parameters().get(name)).grad(), p.grad()))
                    .as(name)
                    .isLessThan(1e-12));
  }

  @Test
  void noise_that_is_not_a_number_is_left_out() {
    Linear layer = layer();
    MontecloraLinear adapter = trained(layer);
    MontecloraNoise noise = noise();
    adapter.drawFrom(
        () ->
            new MontecloraNoise(
                noise.normal(), noise.wishart(), noise.dirichlet().mul(new Scalar(Double.NaN))));
    Tensor x = input();

    Tensor y = adapter.first(x);
    adapter.train(false);

    assertThat(y.equal(adapter.first(x))).isTrue();
  }

  @Test
  void the_penalty_is_the_mean_over_the_layers_in_training_and_nothing_in_evaluation() {
    Tree tree = Tree.decoder(2);
    var adapters = Adapters.of(tree, Tree.facts());
    adapters.attach("one", builder().targets(Targets.named("q_proj", "v_proj")).build(), 3);
    tree.train(true);

    Tensor penalty = there(adapters.penalty());
    double mean =
        adapters.on("one").values().stream()
            .map(MontecloraLinear.class::cast)
            .mapToDouble(m -> m.divergence().add(m.entropy()).item_double())
            .average()
            .orElseThrow();
    tree.train(false);

    assertThat(penalty.item_double()).isCloseTo(mean, within(1e-6 * (1 + Math.abs(mean))));
    assertThat(adapters.penalty()).isNull();
  }

  @Test
  void kasa_adds_the_sum_of_its_regulariser_over_the_layers() {
    Tree tree = Tree.decoder(2);
    var adapters = Adapters.of(tree, Tree.facts());
    var config =
        LoraConfig.builder()
            .r(2)
            .variant(new LoraVariant.Kasa(0.5, 0.25))
            .targets(Targets.named("q_proj", "v_proj"))
            .build();
    adapters.attach("one", config, 3);
    tree.train(true);

    double sum =
        adapters.on("one").values().stream()
            .map(KasaLinear.class::cast)
            .mapToDouble(kasa -> kasa.penalty(0.5, 0.25).item_double())
            .sum();

    assertThat(there(adapters.penalty()).item_double()).isCloseTo(sum, within(1e-4));
    assertThat(sum).isPositive();
  }

  @Test
  void other_methods_add_nothing_to_the_loss() {
    Tree tree = Tree.decoder(1);
    var adapters = Adapters.of(tree, Tree.facts());
    adapters.attach("one", LoraConfig.defaults(), 3);
    tree.train(true);

    assertThat(adapters.penalty()).isNull();
  }

  @Test
  void all_four_tensors_of_the_sampler_come_back_from_a_file() {
    Linear layer = layer();
    MontecloraLinear adapter = trained(layer);
    Tensor y = adapter.first(input());
    var saved = new LinkedHashMap<String, Tensor>();
    adapter.state().forEach((name, t) -> saved.put(name, t.detach().clone()));
    var other = (MontecloraLinear) builder().build().create(layer, "l", Init.blank());
    other.to(ScalarType.Double);

    try (var _ = new NoGradGuard()) {
      other.load(saved);
    }

    assertThat(y.requires_grad()).isTrue();
    assertThat(saved).hasSize(6);
    saved.forEach((name, t) -> assertThat(there(other.state().get(name)).equal(t)).isTrue());
  }
}
