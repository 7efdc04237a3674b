package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.eye;
import static org.bytedeco.pytorch.global.torch.manual_seed;
import static org.bytedeco.pytorch.global.torch.randn;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class RiemannianTest {

  private Tensor a;
  private Tensor b;
  private Tensor other;

  @BeforeEach
  void draw() {
    manual_seed(9);
    a = randn(3, 6).set_requires_grad(true);
    b = randn(5, 3).set_requires_grad(true);
    other = randn(5).set_requires_grad(true);
  }

  private Map<String, Tensor> all() {
    var all = new LinkedHashMap<String, Tensor>();
    all.put("lora_A.weight", a);
    all.put("lora_B.weight", b);
    all.put("lora_magnitude_vector", other);
    return all;
  }

  private Sgd sgd() {
    return new Sgd(List.of(new ParameterGroup("all", all(), 0.1, 0)), 0);
  }

  private static Tensor give(Tensor p) {
    Tensor g = randn(p.sizes());
    p.mutable_grad().put(g);
    return g.clone().to(ScalarType.Double);
  }

  private static Tensor wide(Tensor t) {
    return t.detach().to(ScalarType.Double).clone();
  }

  private static Tensor damped(Tensor gram, double reg) {
    return gram.add(eye(gram.size(0)).to(ScalarType.Double), new Scalar(reg)).inverse();
  }

  private static boolean near(Tensor ours, Tensor want) {
    return wide(ours).allclose(want, 1e-5, 1e-6, false);
  }

  @Test
  void one_step_of_descent_is_the_closed_form_with_the_factors_before_it() {
    Tensor firstA = wide(a);
    Tensor firstB = wide(b);
    Tensor firstOther = wide(other);
    Tensor ofA = give(a);
    Tensor ofB = give(b);
    Tensor ofOther = give(other);

    try (var optimizer = new Riemannian(sgd(), List.of(LoraPair.of(a, b, 2)), 0.01)) {
      optimizer.step(1);
    }

    Tensor stepA = damped(firstB.t().matmul(firstB), 0.01).matmul(ofA);
    Tensor stepB = ofB.matmul(damped(firstA.matmul(firstA.t()), 0.01));
    assertThat(near(a, firstA.sub(stepA, new Scalar(0.1)))).isTrue();
    assertThat(near(b, firstB.sub(stepB, new Scalar(0.1)))).isTrue();
    assertThat(near(other, firstOther.sub(ofOther, new Scalar(0.1)))).isTrue();
  }

  @Test
  void a_diagonal_between_the_factors_belongs_to_both_of_them() {
    Tensor d = randn(3);
    Tensor firstA = wide(a);
    Tensor firstB = wide(b);
    Tensor ofA = give(a);
    Tensor ofB = give(b);

    try (var optimizer = new Riemannian(sgd(), List.of(LoraPair.of(a, b, 2).with(d)), 0.01)) {
      optimizer.step(1);
    }

    Tensor left = firstB.mul(wide(d)); // B·diag(d)
    Tensor right = firstA.mul(wide(d).unsqueeze(1)); // diag(d)·A
    Tensor stepA = damped(left.t().matmul(left), 0.01).matmul(ofA);
    Tensor stepB = ofB.matmul(damped(right.matmul(right.t()), 0.01));
    assertThat(near(a, firstA.sub(stepA, new Scalar(0.1)))).isTrue();
    assertThat(near(b, firstB.sub(stepB, new Scalar(0.1)))).isTrue();
  }

  @Test
  void without_damping_the_step_of_the_product_does_not_depend_on_how_it_is_shared() {
    // B/c and c·A have the same product; gradients of the factors follow from that of the product.
    Tensor whole = randn(5, 6);
    Tensor one = productAfterStep(a, b, whole, 1);

    Tensor other = productAfterStep(a, b, whole, 4);

    assertThat(one.allclose(other, 1e-4, 1e-4, false)).isTrue();
  }

  private static Tensor productAfterStep(Tensor a, Tensor b, Tensor whole, double share) {
    Tensor ownA = a.detach().mul(new Scalar(share)).set_requires_grad(true);
    Tensor ownB = b.detach().div(new Scalar(share)).set_requires_grad(true);
    ownA.mutable_grad().put(ownB.detach().t().matmul(whole));
    ownB.mutable_grad().put(whole.matmul(ownA.detach().t()));
    var group = new ParameterGroup("all", Map.of("a", ownA, "b", ownB), 0.01, 0);
    try (var optimizer =
        new Riemannian(new Sgd(List.of(group), 0), List.of(LoraPair.of(ownA, ownB, 1)), 0)) {
      optimizer.step(1);
    }
    return ownB.detach().matmul(ownA.detach());
  }

  @Test
  void an_a_alone_with_a_gradient_is_preconditioned_alone() {
    Tensor firstA = wide(a);
    Tensor firstB = wide(b);
    Tensor ofA = give(a);

    try (var optimizer = new Riemannian(sgd(), List.of(LoraPair.of(a, b, 2)), 0.01)) {
      optimizer.step(1);
    }

    Tensor stepA = damped(firstB.t().matmul(firstB), 0.01).matmul(ofA);
    assertThat(near(a, firstA.sub(stepA, new Scalar(0.1)))).isTrue();
    assertThat(near(b, firstB)).isTrue();
  }

  @Test
  void pairs_that_do_not_both_train_and_convolutions_are_left_alone() {
    Tensor frozen = randn(3, 6);
    Tensor kernel = randn(3, 2, 5, 5).set_requires_grad(true);
    Tensor point = randn(4, 3, 1, 1).set_requires_grad(true);
    var pairs =
        List.of(
            LoraPair.of(a, b, 2), LoraPair.of(frozen, other(), 2), LoraPair.of(kernel, point, 2));
    Tensor before = give(point);

    try (var optimizer = new Riemannian(sgd(), pairs, 0.01)) {
      optimizer.step(1);
    }

    assertThat(wide(point.grad()).equal(before)).isTrue();
  }

  private static Tensor other() {
    return randn(5, 3).set_requires_grad(true);
  }

  @Test
  void without_a_pair_it_is_refused() {
    var frozen = List.of(LoraPair.of(randn(3, 6), b, 2));

    assertThatThrownBy(() -> new Riemannian(sgd(), frozen, 0.01))
        .hasMessageContaining("no pair of matrices lora_A and lora_B that both train");
    assertThatThrownBy(() -> new Riemannian(sgd(), List.of(LoraPair.of(a, b, 2)), -1))
        .hasMessageContaining("reg is -1.0");
  }
}
