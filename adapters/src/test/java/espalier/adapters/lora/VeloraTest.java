package espalier.adapters.lora;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.constant_pad_nd;

import espalier.adapters.NativeScope;
import espalier.adapters.Tree;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Recompute;
import espalier.nn.Scope;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class VeloraTest {

  private final Tree.Draw draw = new Tree.Draw(6);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private Linear layer() {
    return new Linear(draw.normal(6, 10).to(ScalarType.Double), null);
  }

  private static LoraConfig config(LoraVariant variant) {
    return LoraConfig.builder().r(2).alpha(3).init(new LoraInit.Unset()).variant(variant).build();
  }

  private static LoraLinear trained(LoraConfig config, Linear layer) {
    var adapter = (LoraLinear) config.create(layer, "l", Init.shared(1));
    adapter.to(layer.dtype());
    adapter.trainable(true);
    adapter.train(true);
    return adapter;
  }

  private static VeloraLinear velora(Linear layer, String init) {
    return (VeloraLinear) trained(config(new LoraVariant.Velora(4, 0.7, init)), layer);
  }

  private Tensor input() {
    return draw.normal(2, 5, 10).to(ScalarType.Double);
  }

  @Test
  void the_output_in_training_is_that_of_plain_lora_bit_for_bit() {
    Linear layer = layer();
    LoraLinear plain = trained(config(new LoraVariant.Plain()), layer);
    VeloraLinear velora = velora(layer, "batch_average");
    Tensor x = input();

    assertThat(velora.first(x).equal(plain.first(x))).isTrue();
    assertThat(velora.forward(x, layer.base(x)).equal(plain.forward(x, layer.base(x)))).isTrue();
  }

  @Test
  void only_the_gradient_of_a_comes_from_the_reconstruction() {
    Linear layer = layer();
    VeloraLinear velora = velora(layer, "batch_average");
    Tensor x = input().set_requires_grad(true);
    Tensor g = draw.normal(2, 5, 6).to(ScalarType.Double);

    velora.first(x).mul(g).sum().backward();

    Tensor rows = x.detach().view(-1, 10);
    Tensor groups = constant_pad_nd(rows, 0, 2).view(-1, 4, 3); // 10 features in 4 groups of 3
    Tensor mean = groups.view(-1, 3).mean(0);
    Tensor v = mean.div(mean.norm());
    Tensor c = groups.matmul(v);
    Tensor seen = c.unsqueeze(-1).mul(v).reshape(-1, 12).narrow(1, 0, 10).mul(new Scalar(0.7));
    var s = new Scalar(1.5);
    Tensor dy = g.view(-1, 6);
    Tensor dh = dy.matmul(velora.b().detach()).mul(s);
    Tensor h = rows.matmul(velora.a().detach().t());
    assertThat(gap(velora.direction(), v)).isLessThan(1e-6);
    assertThat(gap(velora.a().grad(), dh.t().matmul(seen))).isLessThan(1e-5);
    assertThat(gap(velora.b().grad(), dy.t().matmul(h).mul(s))).isLessThan(1e-10);
    assertThat(gap(x.grad().view(-1, 10), dy.matmul(layer.weight().add(velora.deltaWeight()))))
        .isLessThan(1e-10);
  }

  @Test
  void the_input_is_let_go_after_the_forward() {
    Linear layer = layer();
    VeloraLinear velora = velora(layer, "batch_average");
    LoraLinear plain = trained(config(new LoraVariant.Plain()), layer);
    Tensor x = input().view(-1, 10);
    long before = holders(x);

    Tensor y = velora.first(x);
    long withVelora = holders(x);
    Tensor other = plain.first(x);

    assertThat(y.requires_grad() && other.requires_grad()).isTrue();
    assertThat(withVelora).isEqualTo(before);
    assertThat(holders(x)).isGreaterThan(before);
  }

  private static long holders(Tensor x) {
    try (var _ = Scope.open()) {
      return x.use_count() + x.storage().use_count();
    }
  }

  @Test
  void the_direction_follows_each_batch_or_the_first_or_none() {
    Linear layer = layer();
    VeloraLinear each = velora(layer, "batch_average");
    VeloraLinear once = velora(layer, "batch_average_once");
    VeloraLinear random = velora(layer, "random");
    Tensor first = input();
    Tensor second = input();
    Tensor drawn = random.direction().clone();

    for (VeloraLinear one : new VeloraLinear[] {each, once, random}) {
      assertThat(one.first(first).requires_grad()).isTrue();
    }
    Tensor ofFirst = each.direction().clone();
    for (VeloraLinear one : new VeloraLinear[] {each, once, random}) {
      assertThat(one.first(second).requires_grad()).isTrue();
    }

    assertThat(gap(each.direction(), ofFirst)).isGreaterThan(1e-3);
    assertThat(once.direction().equal(ofFirst)).isTrue();
    assertThat(random.direction().equal(drawn)).isTrue();
    assertThat(drawn.norm().item_double())
        .isCloseTo(1, org.assertj.core.api.Assertions.within(1e-6));
  }

  @Test
  void evaluation_and_forwards_without_gradients_leave_the_direction() {
    VeloraLinear velora = velora(layer(), "batch_average");

    try (var _ = new NoGradGuard()) {
      assertThat(velora.first(input()).requires_grad()).isFalse();
    }
    velora.train(false);
    assertThat(velora.first(input()).requires_grad()).isTrue();

    assertThat(velora.direction().any().item_bool()).isFalse();
  }

  @Test
  void a_batch_without_a_mean_gives_an_even_direction() {
    VeloraLinear velora = velora(layer(), "batch_average");

    Tensor y = velora.first(input().zero_());

    assertThat(y.requires_grad()).isTrue();
    assertThat(gap(velora.direction(), velora.direction().mean().expand(3))).isZero();
    assertThat(velora.direction().norm().item_double()).isGreaterThan(0.99);
  }

  @Test
  void a_batch_of_no_rows_leaves_the_direction() {
    VeloraLinear velora = velora(layer(), "batch_average");
    assertThat(velora.first(input()).requires_grad()).isTrue();
    Tensor before = velora.direction().clone();

    Tensor y = velora.first(input().narrow(0, 0, 0));

    assertThat(y.shape()).containsExactly(0, 5, 6);
    assertThat(velora.direction().equal(before)).isTrue();
  }

  @Test
  void a_loaded_direction_counts_as_the_first_one() {
    Linear layer = layer();
    VeloraLinear velora = velora(layer, "batch_average_once");
    Tensor saved = draw.normal(3);
    velora.load(Map.of("lora_velora_embed", saved));

    assertThat(velora.first(input()).requires_grad()).isTrue();

    assertThat(gap(velora.direction(), saved.to(ScalarType.Double))).isZero();
  }

  @Test
  void a_backward_uses_the_direction_of_its_own_forward() {
    Linear layer = layer();
    VeloraLinear alone = velora(layer, "batch_average");
    VeloraLinear both = velora(layer, "batch_average");
    Tensor x = input();
    alone.first(x).sum().backward();

    Tensor y = both.first(x);
    Tensor later = both.first(input());
    y.sum().backward();

    assertThat(later.requires_grad()).isTrue();
    assertThat(gap(both.a().grad(), alone.a().grad())).isZero();
  }

  @ParameterizedTest
  @ValueSource(strings = {"batch_average", "batch_average_once", "random"})
  void gradients_are_the_same_when_the_block_is_computed_again(String init) {
    Linear layer = layer();
    VeloraLinear plain = velora(layer, init);
    VeloraLinear again = velora(layer, init);
    Tensor x = input();

    plain.first(x).tanh().sum().backward();
    Recompute.in(x, h -> again.first(h).tanh()).sum().backward();

    assertThat(gap(again.a().grad(), plain.a().grad())).isZero();
    assertThat(gap(there(again.b()).grad(), plain.b().grad())).isZero();
    assertThat(again.direction().equal(plain.direction())).isTrue();
  }

  @Test
  void more_groups_than_features_are_filled_up() {
    var velora =
        (VeloraLinear) trained(config(new LoraVariant.Velora(64, 1, "batch_average")), layer());

    velora.first(input()).sum().backward();

    assertThat(velora.direction().numel()).isOne();
    assertThat(velora.a().grad().abs().max().item_double()).isPositive();
  }

  @Test
  void half_precision_trains_too() {
    var layer = new Linear(draw.normal(6, 10).to(ScalarType.BFloat16), null);
    VeloraLinear velora =
        (VeloraLinear)
            config(new LoraVariant.Velora(5, 1, "batch_average"))
                .create(layer, "l", Init.shared(1));
    velora.trainable(true);
    velora.train(true);

    Tensor y = velora.first(draw.normal(3, 10).to(ScalarType.BFloat16));
    y.sum().backward();

    assertThat(y.scalar_type().intern()).isEqualTo(ScalarType.BFloat16);
    assertThat(velora.a().grad().scalar_type().intern()).isEqualTo(ScalarType.Float);
  }
}
