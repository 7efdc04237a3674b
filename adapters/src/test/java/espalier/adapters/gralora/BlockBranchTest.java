package espalier.adapters.gralora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.einsum;
import static org.bytedeco.pytorch.global.torch.linalg_matrix_rank;

import espalier.adapters.NativeScope;
import espalier.adapters.Tree;
import espalier.nn.BranchProduct;
import espalier.nn.Linear;
import espalier.nn.TransposedLinear;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The node that keeps x and the factors alone, against two einsums that autograd sees. */
class BlockBranchTest {

  private static final long K = 3;
  private static final long I = 6;
  private static final long O = 8;
  private static final long Q = 2;
  private static final double S = 0.7;
  private static final BlockBranch BLOCKS = new BlockBranch(S);

  private final Tree.Draw draw = new Tree.Draw(1);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private Tensor doubles(long... shape) {
    return draw.normal(shape).to(ScalarType.Double);
  }

  private Tensor leaf(long... shape) {
    return doubles(shape).set_requires_grad(true);
  }

  private static Tensor einsumOf(String formula, Tensor one, Tensor two) {
    var both = new TensorVector();
    both.push_back(one);
    both.push_back(two);
    return einsum(formula, both);
  }

  /** s · x Mᵀ by the definition: from blocks of inputs to channels, exchange, to blocks. */
  private static Tensor defined(Tensor x, Tensor a, Tensor b) {
    long t = x.size(0);
    Tensor sent = einsumOf("tni,nir->tnr", x.view(t, K, I), a);
    Tensor received = sent.view(t, K, K, Q).permute(0, 2, 1, 3).reshape(t, K, K * Q);
    return einsumOf("tjr,jro->tjo", received, b).reshape(t, K * O).mul(new Scalar(S));
  }

  private static void assertClose(Tensor ours, Tensor expected) {
    double largest = Math.max(1, expected.abs().max().item_double());
    assertThat(ours.sub(expected).abs().max().item_double() / largest).isLessThan(1e-13);
  }

  private void assertSameGradients(List<Tensor> leaves, Tensor ours, Tensor expected) {
    Tensor g = doubles(ours.size(0), ours.size(1));
    ours.mul(g).sum().backward();
    List<Tensor> own = leaves.stream().map(l -> l.grad().clone()).toList();
    leaves.forEach(l -> l.mutable_grad().zero_());
    expected.mul(g).sum().backward();

    assertClose(ours, expected);
    for (int i = 0; i < own.size(); i++) {
      assertClose(own.get(i), leaves.get(i).grad());
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {0, 1, 10})
  void base_and_blocks_in_one_node_are_the_definition(int tokens) {
    for (boolean transposed : new boolean[] {false, true}) {
      Tensor w = doubles(K * O, K * I);
      Tensor bias = doubles(K * O);
      Linear layer =
          transposed ? new TransposedLinear(w.t().contiguous(), bias) : new Linear(w, bias);
      Tensor x = leaf(tokens, K * I);
      Tensor a = leaf(K, I, K * Q);
      Tensor b = leaf(K, K * Q, O);

      Tensor ours = BranchProduct.whole(layer, x, List.of(a, b), BLOCKS);

      if (tokens == 0) {
        ours.sum().backward();
        assertThat(a.grad().abs().sum().item_double()).isZero();
      } else {
        assertSameGradients(List.of(x, a, b), ours, layer.base(x).add(defined(x, a, b)));
      }
    }
  }

  @Test
  void what_is_written_into_passes_its_gradient_on() {
    Tensor z = leaf(10, K * O);
    Tensor x = leaf(10, K * I);
    Tensor a = leaf(K, I, K * Q);
    Tensor b = leaf(K, K * Q, O);

    Tensor ours = BranchProduct.into(z.mul(new Scalar(3)), x, List.of(a, b), BLOCKS);

    assertSameGradients(List.of(z, x, a, b), ours, z.mul(new Scalar(3)).add(defined(x, a, b)));
  }

  @Test
  void a_gradient_that_is_the_same_everywhere_and_an_input_in_columns_are_read_rightly() {
    // sum() hands down a gradient whose strides are zero
    Tensor x = doubles(K * I, 10).t().set_requires_grad(true);
    Tensor a = leaf(K, I, K * Q);
    Tensor b = leaf(K, K * Q, O);
    var layer = new Linear(doubles(K * O, K * I), null);

    BranchProduct.whole(layer, x, List.of(a, b), BLOCKS).sum().backward();
    Tensor dx = x.grad().clone();
    Tensor db = b.grad().clone();
    x.mutable_grad().zero_();
    b.mutable_grad().zero_();
    layer.base(x).add(defined(x, a, b)).sum().backward();

    assertClose(dx, x.grad());
    assertClose(db, b.grad());
  }

  @Test
  void a_factor_that_is_frozen_gets_no_gradient_and_the_other_its_own() {
    Tensor x = doubles(10, K * I);
    Tensor a = doubles(K, I, K * Q);
    Tensor b = leaf(K, K * Q, O);
    var layer = new Linear(doubles(K * O, K * I), null);

    BranchProduct.whole(layer, x, List.of(a, b), BLOCKS).sum().backward();
    Tensor ours = b.grad().clone();
    b.mutable_grad().zero_();
    defined(x, a, b).sum().backward();

    assertClose(ours, b.grad());
    assertThat(a.grad().defined()).isFalse();
    assertThat(x.grad().defined()).isFalse();
  }

  @Test
  void each_block_of_the_matrix_is_the_product_of_its_own_factors() {
    try (var _ = new NoGradGuard()) {
      Tensor a = doubles(K, I, K * Q);
      Tensor b = doubles(K, K * Q, O);
      Tensor matrix = a.new_empty(K * O, K * I);

      new BlockGrid(a, b).matrix(S, matrix);

      for (long j = 0; j < K; j++) {
        for (long l = 0; l < K; l++) {
          Tensor own = a.select(0, l).narrow(1, j * Q, Q).mm(b.select(0, j).narrow(0, l * Q, Q));
          Tensor block = matrix.narrow(0, j * O, O).narrow(1, l * I, I);
          assertClose(block, own.t().mul(new Scalar(S)));
        }
      }
      Tensor x = doubles(5, K * I);
      assertClose(x.mm(matrix.t()), defined(x, a, b));
    }
  }

  @Test
  void rows_of_a_block_and_their_gradients_are_those_of_the_whole() {
    try (var _ = new NoGradGuard()) {
      Tensor a = doubles(K, I, K * Q);
      Tensor b = doubles(K, K * Q, O);
      var grid = new BlockGrid(a, b);
      Tensor matrix = a.new_empty(K * O, K * I);
      grid.matrix(1, matrix);
      Tensor g = doubles(K * O, K * I);
      Tensor da = a.new_zeros(K, I, K * Q);
      Tensor db = b.new_empty(K, K * Q, O);

      for (long from = 0; from < K * O; from += 4) { // half a block at a time
        Tensor rows = a.new_empty(4, K * I);
        grid.rows(from, 1, rows);
        assertClose(rows, matrix.narrow(0, from, 4));
        grid.backward(from, g.narrow(0, from, 4), da, db);
      }

      for (long j = 0; j < K; j++) {
        for (long l = 0; l < K; l++) {
          Tensor gradient = g.narrow(0, j * O, O).narrow(1, l * I, I); // [O, I]
          Tensor ownA = a.select(0, l).narrow(1, j * Q, Q); // [I, q]
          Tensor ownB = b.select(0, j).narrow(0, l * Q, Q); // [q, O]
          assertClose(da.select(0, l).narrow(1, j * Q, Q), gradient.t().mm(ownB.t()));
          assertClose(db.select(0, j).narrow(0, l * Q, Q), ownA.t().mm(gradient.t()));
        }
      }
    }
  }

  @Test
  void the_matrix_has_k_times_the_rank_of_the_factors() {
    try (var _ = new NoGradGuard()) {
      Tensor matrix = doubles(24, 18);

      new BlockGrid(doubles(3, 6, 6), doubles(3, 6, 8)).matrix(1, matrix);

      assertThat(linalg_matrix_rank(matrix).item_long()).isEqualTo(18);
    }
  }

  @Test
  void an_outlier_in_one_block_of_inputs_leaves_the_gradients_of_the_others_alone() {
    Tensor a = leaf(K, I, K * Q);
    Tensor b = leaf(K, K * Q, O);
    Tensor x = doubles(10, K * I);
    Tensor g = doubles(10, K * O);
    var layer = new Linear(doubles(K * O, K * I), null);

    BranchProduct.whole(layer, x, List.of(a, b), BLOCKS).mul(g).sum().backward();
    Tensor calmA = a.grad().clone();
    Tensor calmB = b.grad().clone();
    a.mutable_grad().zero_();
    b.mutable_grad().zero_();
    try (var _ = new NoGradGuard()) {
      x.narrow(1, I, I).mul_(new Scalar(1000)); // the block of inputs with index 1
    }
    BranchProduct.whole(layer, x, List.of(a, b), BLOCKS).mul(g).sum().backward();

    for (long l = 0; l < K; l++) {
      boolean same = l != 1;
      assertThat(a.grad().select(0, l).equal(calmA.select(0, l))).isEqualTo(same);
      assertThat(b.grad().narrow(1, l * Q, Q).equal(calmB.narrow(1, l * Q, Q))).isEqualTo(same);
    }
  }

  @Test
  void the_delta_is_made_of_the_blocks_alone_and_of_no_matrix_with_zeros_between_them() {
    long k = 64;
    long q = 20_000; // spread out over all blocks, A would have 64 · 64 · 64 · 20000 numbers
    var one = new Tree.Draw(1).normal(1).fill_(new Scalar(1));
    var grid = new BlockGrid(one.expand(k, 1, k * q), one.expand(k, k * q, 1));
    Tensor delta = draw.normal(k, k);

    grid.matrix(0.5, delta);

    assertThat(delta.eq(new Scalar(0.5 * q)).all().item_bool()).isTrue();
  }
}
