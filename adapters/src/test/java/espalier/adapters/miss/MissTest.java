package espalier.adapters.miss;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.ConfigException;
import espalier.adapters.Gradients;
import espalier.adapters.NativeScope;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class MissTest {

  private static final MissConfig SMALL =
      MissConfig.defaults().withR(2).withTargets(Targets.named("layer"));

  private final Tree.Draw draw = new Tree.Draw(5);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  @ParameterizedTest
  @CsvSource({"4, 10, 8", "3, 10, 8", "3, 2, 8", "8, 5, 8"})
  void a_shared_block_has_all_the_gradients_of_its_formula(long r, long columns, long in) {
    var branch = new ShardBranch(0.7);

    Gradients.assertSame(
        10,
        in,
        7,
        List.of(Gradients.leaf(draw, r, columns)),
        branch,
        f -> branch.update(f.getFirst(), 10, in));
  }

  @Test
  void a_column_of_the_update_repeats_with_every_shard() {
    Tensor block = draw.normal(3, 4);

    Tensor update = new ShardBranch(1).update(block, 4, 8);

    for (long i = 0; i < 8; i++) {
      assertThat(update.select(1, i).equal(block.select(0, i % 3))).isTrue();
    }
  }

  @Test
  void the_form_bat_has_all_the_gradients_of_its_formula() {
    Tensor w = draw.normal(6, 8).to(ScalarType.Double);
    var branch = new BatBranch(0.7);

    Gradients.assertSame(
        6,
        8,
        5,
        List.of(Gradients.leaf(draw, 3, 2, 2)),
        new espalier.nn.BranchProduct.Branch() {
          @Override
          public void add(Tensor x, List<Tensor> factors, Tensor y) {
            branch.add(x, List.of(factors.getFirst(), w), y);
          }

          @Override
          public List<@org.jspecify.annotations.Nullable Tensor> backward(
              Tensor g,
              Tensor x,
              List<Tensor> factors,
              @org.jspecify.annotations.Nullable Tensor dx,
              boolean[] wanted) {
            return branch.backward(g, x, List.of(factors.getFirst(), w), dx, wanted).subList(0, 1);
          }
        },
        f -> bat(f.getFirst(), w).mul(new Scalar(0.7)));
  }

  /** Block by block, W·D + D. */
  private static Tensor bat(Tensor d, Tensor w) {
    var rows = new org.bytedeco.pytorch.TensorVector();
    for (long i = 0; i < 3; i++) {
      var columns = new org.bytedeco.pytorch.TensorVector();
      for (long j = 0; j < 4; j++) {
        Tensor block = w.narrow(0, 2 * i, 2).narrow(1, 2 * j, 2);
        columns.push_back(block.mm(d.select(0, i)).add(d.select(0, i)));
      }
      rows.push_back(torch.cat(columns, 1));
    }
    return torch.cat(rows, 0);
  }

  @ParameterizedTest
  @EnumSource(MissForm.class)
  void every_form_merges_to_what_it_computes_and_survives_its_file(MissForm form) {
    var layer = new Linear(draw.normal(6, 8), draw.normal(6));
    MissConfig config = SMALL.withForm(form, 3).withDropout(0.25);
    AdapterCatalog catalog = AdapterCatalog.standard();
    Adapter miss = config.create(layer, "layer", Init.shared(1));
    Tensor x = draw.normal(3, 8);
    boolean unchanged = miss.first(x).equal(layer.base(x));
    try (var _ = new NoGradGuard()) {
      miss.parameters().values().forEach(p -> p.copy_(new Tree.Draw(9).normal(p.shape())));
    }

    Tensor merged = layer.base(x, miss.mergedInto(layer.weight()), layer.bias());
    var read = (MissConfig) catalog.read(catalog.write(config)).config();

    assertThat(unchanged).isEqualTo(form != MissForm.DRAWN);
    assertThat(merged.sub(miss.first(x)).abs().max().item_double()).isLessThan(1e-4);
    assertThat(read).isEqualTo(config.withHead(config.head().withInferenceMode(true)));
  }

  @Test
  void a_shard_wider_than_the_input_is_refused_by_path() {
    var layer = new Linear(draw.normal(6, 8), null);

    assertThatThrownBy(() -> SMALL.withR(9).create(layer, "a.b", Init.blank()))
        .isInstanceOf(ConfigException.class)
        .hasMessage("r is 9 but a.b has 8 inputs; choose 8 or less");
  }
}
