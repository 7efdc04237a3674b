package espalier.adapters.hira;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.embedding;
import static org.bytedeco.pytorch.global.torch.embedding_renorm_;

import espalier.adapters.NativeScope;
import espalier.adapters.Tree;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.LookupOptions;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** HiRA on embeddings with a padding row, a largest norm, and gradients in other forms. */
class HiraEmbeddingOptionsTest {

  private static final HiraConfig UNSET = HiraConfig.defaults().withR(2).withInit(HiraInit.UNSET);

  private final Tree.Draw draw = new Tree.Draw(4);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static Tensor ids() {
    return Tensor.create(new long[] {3, 3, 0, 8, 3, 1}, 6);
  }

  @Test
  void the_padded_row_adds_nothing_and_gets_no_gradient() {
    Tensor table = draw.normal(9, 5);
    table.select(0, 3).zero_();
    var hira = UNSET.create(new Embedding(table, 3, 1), "embed", Init.shared(1));
    hira.trainable(true);

    Tensor y = hira.first(ids());
    y.add(new Scalar(1)).square().sum().backward();

    Tensor gradient = new Tensor(there(hira.parameters().get("hira_embedding_A")).grad());
    assertThat(y.select(0, 0).abs().sum().item_double()).isZero();
    assertThat(gradient.select(1, 3).abs().sum().item_double()).isZero();
    assertThat(gradient.select(1, 8).abs().sum().item_double()).isGreaterThan(0);
  }

  @ParameterizedTest(name = "p = {0}")
  @ValueSource(doubles = {1, 2, 3})
  void rows_longer_than_the_largest_norm_are_scaled_down_as_the_library_does(double p) {
    Tensor table = draw.normal(9, 5);
    Tensor before = table.clone();
    Tensor renormed = embedding_renorm_(table.clone(), ids(), 1.5, p);
    var layer = new Embedding(table, LookupOptions.padded(-1).withMaxNorm(1.5, p), 1);
    var hira = (HiraEmbedding) UNSET.create(layer, "embed", Init.shared(1));

    Tensor base = layer.base(ids());
    Tensor y = hira.first(ids());

    Tensor expected = embedding(renormed, ids());
    Tensor factor = embedding(hira.modulation().add(new Scalar(1)), ids());
    HadamardTest.assertNear(base, expected, 1e-6);
    HadamardTest.assertNear(y, expected.mul(factor), 1e-5);
    assertThat(base.equal(embedding(before, ids()))).isFalse();
    assertThat(layer.weight().equal(before)).as("the frozen table").isTrue();
  }

  @Test
  void the_gradient_of_a_trained_table_is_by_frequency_and_in_rows_where_asked() {
    Tensor table = draw.normal(9, 5);
    table.set_requires_grad(true);
    Tensor plain = gradient(table, LookupOptions.padded(-1));
    Tensor byFrequency = gradient(table, LookupOptions.padded(-1).withGradient(true, false));
    Tensor inRows = gradient(table, LookupOptions.padded(-1).withGradient(false, true));

    HadamardTest.assertNear(byFrequency.select(0, 3).mul(new Scalar(3)), plain.select(0, 3), 1e-6);
    HadamardTest.assertNear(byFrequency.select(0, 8), plain.select(0, 8), 1e-6);
    assertThat(inRows.is_sparse()).isTrue();
    HadamardTest.assertNear(inRows.to_dense(), plain, 1e-6);
  }

  private static Tensor gradient(Tensor table, LookupOptions options) {
    var layer = new Embedding(table, options, 1);
    layer.base(ids(), table, null).sum().backward();
    Tensor gradient = new Tensor(table.grad()).clone();
    table.mutable_grad().reset();
    return gradient;
  }

  @Test
  void a_largest_norm_that_is_not_above_zero_is_refused() {
    assertThatThrownBy(() -> LookupOptions.padded(-1).withMaxNorm(0, 2))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageStartingWith("max_norm is 0.0 with norm_type 2.0 but both must be above 0");
  }
}
