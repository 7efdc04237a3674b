package espalier.adapters.hirasb;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AttachOptions;
import espalier.adapters.InitSource;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.NotFiniteException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.CalibrationOptions;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.Ranks;
import espalier.adapters.calibration.TwoLayers;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.hira.HiraInit;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

class HiraSbCalibrationTest {

  private static final HiraSbConfig CONFIG =
      HiraSbConfig.defaults().withR(2).withTargets(Targets.named("below", "above"));
  private static final ModelFacts FACTS = ModelFacts.of("llama");

  @RegisterExtension final NativeScope scope = NativeScope.open();

  private static final class Net extends TwoLayers {
    Net() {
      super(4, 5, 3);
    }

    Prepared calibrated(HiraSbConfig config) {
      return HiraSbCalibration.run(
          tree, FACTS, config, CalibrationOptions.defaults(), this::backward);
    }
  }

  private static Tensor of(Prepared prepared, String path, String name) {
    return there(there(prepared.values().get(path)).get(name));
  }

  private static boolean same(Prepared one, Prepared two) {
    Map<String, Tensor> flat = two.flat();
    return one.flat().keySet().equals(flat.keySet())
        && one.flat().entrySet().stream().allMatch(e -> e.getValue().equal(flat.get(e.getKey())));
  }

  @Test
  void the_bases_are_those_of_the_gradient_averaged_over_the_tokens_of_all_batches() {
    var net = new Net();
    Linear layer = net.below;
    Tensor mean = net.dense(layer).div(new Scalar(10.0));
    HiraSbConfig config =
        CONFIG.withStart(s -> s.withUpdateTarget(UpdateTarget.GRADIENT).withMatchStep(0.1));

    try (Prepared prepared = net.calibrated(config);
        var _ = new NoGradGuard()) {
      HiraSbStart dense = HiraSbStart.of(config, layer.weight(), 2, "below", mean);

      Tensor b = of(prepared, "below", HiraSbAdapter.B);
      Tensor a = of(prepared, "below", HiraSbAdapter.A);
      Tensor r = of(prepared, "below", HiraSbAdapter.R);
      Tensor m = b.mm(r).mm(a);
      Tensor expected = dense.bases().b().mm(dense.r()).mm(dense.bases().a());
      assertThat(m.allclose(expected, 1e-4, 1e-6, false)).isTrue();
      assertThat(expected.abs().max().item_double()).isGreaterThan(1e-4);
    }
  }

  @Test
  void layers_in_groups_give_what_one_pass_gives_and_the_batches_run_once_a_group() {
    var net = new Net();
    try (Prepared whole = net.calibrated(CONFIG)) {
      int once = net.runs;

      try (Prepared groups = net.calibrated(CONFIG.withStart(s -> s.withMemory(1)))) {
        assertThat(once).isEqualTo(1);
        assertThat(net.runs - once).isEqualTo(2);
        assertThat(same(whole, groups)).isTrue();
      }
    }
  }

  @Test
  void one_set_of_batches_gives_one_start() {
    var net = new Net();
    try (Prepared one = net.calibrated(CONFIG);
        Prepared two = net.calibrated(CONFIG)) {
      assertThat(same(one, two)).isTrue();
    }
  }

  @Test
  void the_prepared_bases_are_those_of_the_attached_adapter() {
    var net = new Net();
    var adapters = espalier.adapters.Adapters.of(net.tree, FACTS);
    try (Prepared prepared = net.calibrated(CONFIG)) {
      adapters.attach(
          "one", CONFIG, AttachOptions.of(InitSource.seeded(1).withPrepared(prepared.values())));

      var adapter = there(adapters.on("one").get("above"));
      assertThat(
              there(adapter.constants().get(HiraSbAdapter.A))
                  .equal(of(prepared, "above", HiraSbAdapter.A)))
          .isTrue();
      assertThat(
              there(adapter.constants().get(HiraSbAdapter.B))
                  .equal(of(prepared, "above", HiraSbAdapter.B)))
          .isTrue();
      Init init = Init.shared(1).withPrepared(there(prepared.values().get("above")));
      assertThatThrownBy(() -> CONFIG.withR(1).create(net.above, "above", init))
          .hasMessageContaining("hirasb_B of above was prepared as [3, 2] but is [3, 1] here");
    }
  }

  @Test
  void the_model_is_in_evaluation_mode_without_its_adapters_and_then_as_before() {
    var net = new Net();
    net.tree.train(true);
    try (Prepared plain = net.calibrated(CONFIG)) {
      var adapters = espalier.adapters.Adapters.of(net.tree, FACTS);
      var hira = HiraConfig.defaults().withR(1).withInit(HiraInit.UNSET);
      adapters.attach("other", hira.withTargets(Targets.named("below")), AttachOptions.seeded(1));
      var modes = new ArrayList<Boolean>();

      try (Prepared beside =
          HiraSbCalibration.run(
              net.tree,
              FACTS,
              CONFIG,
              CalibrationOptions.defaults(),
              () -> {
                modes.add(net.below.training());
                return net.backward();
              })) {
        assertThat(same(plain, beside)).isTrue();
      }
      assertThat(modes).containsExactly(false);
      assertThat(net.below.training()).isTrue();
      assertThat(net.below.adapters().disabled()).isFalse();
      assertThat(there(adapters.on("other").get("below")).parameters().values())
          .noneMatch(p -> p.grad().defined());
    }
  }

  @Test
  void two_ranks_with_half_of_the_batches_each_get_the_same_start_as_one_with_all()
      throws Exception {
    var together = new Together();
    try (Prepared alone = new Net().calibrated(CONFIG);
        Prepared first = together.run(0, List.of(0));
        Prepared second = together.other()) {
      assertThat(same(first, second)).isTrue();
      Tensor one = of(alone, "below", HiraSbAdapter.B);
      Tensor half = of(first, "below", HiraSbAdapter.B);
      assertThat(half.allclose(one, 1e-4, 1e-5, false)).isTrue();
    }
  }

  /** Two ranks in two threads. */
  private static final class Together {
    private final CyclicBarrier barrier = new CyclicBarrier(2);
    private final double[][][] shared = new double[2][][];
    private final Future<Prepared> second;

    Together() {
      var pool = Executors.newSingleThreadExecutor();
      second = pool.submit(() -> run(1, List.of(1, 2)));
      pool.shutdown();
    }

    Prepared other() throws ExecutionException, InterruptedException {
      return second.get();
    }

    Prepared run(int rank, List<Integer> part) {
      var net = new Net();
      List<Tensor> mine = part.stream().map(net.batches::get).toList();
      return HiraSbCalibration.run(
          net.tree,
          FACTS,
          CONFIG,
          CalibrationOptions.defaults().withRanks(new InThreads(rank)),
          () -> net.backward(mine));
    }

    private final class InThreads implements Ranks {
      private final int rank;

      InThreads(int rank) {
        this.rank = rank;
      }

      @Override
      public void sum(Tensor tensor) {
        exchange(tensor, true);
      }

      @Override
      public void broadcast(Tensor tensor) {
        exchange(tensor, false);
      }

      private void exchange(Tensor tensor, boolean add) {
        try {
          var own = new float[(int) tensor.numel()];
          Tensor flat = tensor.reshape(-1).to(org.bytedeco.pytorch.global.torch.ScalarType.Float);
          flat.data_ptr_float().get(own);
          shared[rank] = new double[][] {widened(own)};
          barrier.await();
          double[] zero = shared[0][0];
          double[] one = shared[1][0];
          var result = new double[own.length];
          for (int i = 0; i < result.length; i++) {
            result[i] = add ? zero[i] + one[i] : zero[i];
          }
          barrier.await();
          tensor.copy_(Tensor.create(result, tensor.shape()));
        } catch (Exception e) {
          throw new IllegalStateException(e);
        }
      }

      private static double[] widened(float[] values) {
        var wide = new double[values.length];
        for (int i = 0; i < wide.length; i++) {
          wide[i] = values[i];
        }
        return wide;
      }
    }
  }

  @Test
  void a_gradient_that_is_not_finite_is_refused_with_its_path_and_the_model_is_as_before() {
    var net = new Net();
    net.above.storedWeight().select(0, 0).fill_(new Scalar(Double.POSITIVE_INFINITY));

    assertThatThrownBy(() -> net.calibrated(CONFIG))
        .isInstanceOf(NotFiniteException.class)
        .hasMessageStartingWith("the gradient of below has NaN or infinite entries");
    assertThat(net.below.observed()).isFalse();
    assertThat(net.below.adapters().disabled()).isFalse();
  }

  @Test
  void a_gradient_of_zeros_is_told_and_no_tokens_are_refused() {
    var net = new Net();
    net.above.storedWeight().zero_();
    var warnings = new ArrayList<String>();

    try (Prepared _ =
        HiraSbCalibration.run(
            net.tree,
            FACTS,
            CONFIG,
            CalibrationOptions.defaults().withWarnings(warnings::add),
            net::backward)) {
      assertThat(warnings)
          .containsExactly(
              "below and 1 more: the gradient, or its product with the weight, is zero everywhere,"
                  + " so the bases are random");
    }
    assertThatThrownBy(
            () ->
                HiraSbCalibration.run(
                    net.tree, FACTS, CONFIG, CalibrationOptions.defaults(), () -> 0))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("have no tokens to learn from");
  }

  @Test
  void an_embedding_is_refused_before_any_batch_is_run() {
    var net = new Net();
    net.tree.with("tokens", new Embedding(new Tree.Draw(7).normal(9, 4)));

    assertThatThrownBy(() -> net.calibrated(CONFIG.withTargets(Targets.named("tokens"))))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageStartingWith("tokens is a Embedding but HiRA-SB adapts");
    assertThat(net.runs).isZero();
  }
}
