package espalier.adapters.lora.starts;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.NativeScope;
import espalier.adapters.Tree;
import java.util.List;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

class InputCovarianceTest {

  private final Tree.Draw draw = new Tree.Draw(3);
  @RegisterExtension final NativeScope scope = NativeScope.open();

  private static Tensor product(Tensor x) {
    Tensor scaled = x.div(x.max().abs());
    return scaled.t().matmul(scaled);
  }

  @Test
  void layers_with_the_same_inputs_share_a_covariance() {
    try (var sums = new InputCovariance(false)) {
      for (int call = 0; call < 3; call++) {
        Tensor x = draw.normal(200, 4); // 600 rows, more than wait at a time
        for (String path : List.of("q", "k", "v")) {
          Tensor _ = sums.observer(path).seen(x, x);
        }
      }

      var means = sums.means(List.of("q", "k", "v"));

      assertThat(means.get("k")).isSameAs(means.get("q"));
      assertThat(means.get("v")).isSameAs(means.get("q"));
      assertThat(sums.calls("v")).isEqualTo(3);
    }
  }

  @Test
  void layers_that_part_have_each_its_own_mean() {
    Tensor both = draw.normal(6, 4);
    Tensor one = draw.normal(6, 4);
    Tensor other = draw.normal(300, 4);

    try (var sums = new InputCovariance(false)) {
      Tensor _ = sums.observer("a").seen(both, both);
      Tensor _ = sums.observer("b").seen(both, both);
      Tensor _ = sums.observer("a").seen(one, one);
      Tensor _ = sums.observer("b").seen(other, other);
      var means = sums.means(List.of("a", "b"));

      Tensor a = product(both).add(product(one)).div(new Scalar(2));
      Tensor b = product(both).add(product(other)).div(new Scalar(2));
      assertThat(means.getOrDefault("a", one).allclose(a, 1e-5, 1e-6, false)).isTrue();
      assertThat(means.getOrDefault("b", one).allclose(b, 1e-5, 1e-6, false)).isTrue();
    }
  }
}
