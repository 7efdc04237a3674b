package espalier.adapters.shira;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.InitSource;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.NotFiniteException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.calibration.CalibrationOptions;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.TwoLayers;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class ShiraCalibrationTest {

  private static final ModelFacts FACTS = ModelFacts.of("llama");
  private static final ShiraConfig CONFIG =
      ShiraConfig.defaults()
          .withR(1)
          .withMask(ShiraMask.Known.GRADIENT)
          .withTargets(Targets.named("below", "above"));

  @RegisterExtension final NativeScope scope = NativeScope.open();

  private static final class Net extends TwoLayers {
    Net() {
      super(6, 7, 5);
    }

    Prepared calibrated(ShiraConfig config, CalibrationOptions options) {
      return ShiraCalibration.run(tree, FACTS, config, options, this::backward);
    }

    Prepared calibrated(ShiraConfig config) {
      return calibrated(config, CalibrationOptions.defaults());
    }
  }

  private static List<Long> longs(Tensor tensor) {
    var values = new long[(int) tensor.numel()];
    new LongPointer(tensor.contiguous().data_ptr()).get(values);
    var list = new ArrayList<Long>();
    for (long value : values) {
      list.add(value);
    }
    return list;
  }

  private static List<Long> chosen(Prepared prepared, String path) {
    return longs(there(there(prepared.values().get(path)).get(MaskChoice.POSITIONS)));
  }

  @ParameterizedTest
  @EnumSource(
      value = ShiraMask.Known.class,
      names = {"GRADIENT", "SNIP"})
  void the_entries_are_those_of_the_dense_gradient_summed_over_all_batches(ShiraMask.Known mask) {
    var net = new Net();
    var expected = new ArrayList<List<Long>>();
    for (Linear layer : List.of(net.below, net.above)) {
      Tensor gradient = net.dense(layer);
      try (var _ = new NoGradGuard()) {
        Tensor score = mask == ShiraMask.Known.SNIP ? gradient.mul(layer.weight()) : gradient;
        long count = layer.out() + layer.in();
        expected.add(longs(score.abs().view(-1).topk(count).get1().sort().get0()));
      }
    }

    try (Prepared prepared = net.calibrated(CONFIG.withMask(mask))) {
      assertThat(chosen(prepared, "below")).isEqualTo(expected.get(0));
      assertThat(chosen(prepared, "above")).isEqualTo(expected.get(1));
    }
  }

  @Test
  void the_two_masks_differ_and_one_set_of_batches_gives_one_choice() {
    var net = new Net();
    try (Prepared gradient = net.calibrated(CONFIG);
        Prepared again = net.calibrated(CONFIG);
        Prepared snip = net.calibrated(CONFIG.withMask(ShiraMask.Known.SNIP))) {
      assertThat(chosen(again, "below")).isEqualTo(chosen(gradient, "below"));
      assertThat(chosen(snip, "below")).isNotEqualTo(chosen(gradient, "below"));
    }
  }

  @Test
  void layers_in_groups_give_what_one_pass_gives_and_the_batches_run_once_a_group() {
    var net = new Net();
    try (Prepared whole = net.calibrated(CONFIG)) {
      int once = net.runs;
      var told = new ArrayList<String>();
      var options = CalibrationOptions.defaults().withMemory(1).withProgress(told::add);

      try (Prepared groups = net.calibrated(CONFIG, options)) {
        assertThat(once).isEqualTo(1);
        assertThat(net.runs - once).isEqualTo(2);
        assertThat(chosen(groups, "below")).isEqualTo(chosen(whole, "below"));
        assertThat(chosen(groups, "above")).isEqualTo(chosen(whole, "above"));
        assertThat(told)
            .containsExactly(
                "SHiRA: averaging the gradients of 1 layers, group 1 of 2",
                "SHiRA: averaging the gradients of 1 layers, group 2 of 2");
      }
    }
  }

  @Test
  void only_the_positions_are_kept_and_they_are_those_of_the_attached_adapter() {
    var net = new Net();
    var adapters = Adapters.of(net.tree, FACTS);

    try (Prepared prepared = net.calibrated(CONFIG)) {
      assertThat(prepared.flat()).containsOnlyKeys("below.positions", "above.positions");
      adapters.attach(
          "one", CONFIG, AttachOptions.of(InitSource.seeded(1).withPrepared(prepared.values())));
      var adapter = (ShiraLinear) there(adapters.on("one").get("above"));
      assertThat(longs(adapter.support().positions())).isEqualTo(chosen(prepared, "above"));

      Init init = Init.shared(1).withPrepared(there(prepared.values().get("above")));
      assertThatThrownBy(() -> CONFIG.withR(2).create(net.above, "above", init))
          .isInstanceOf(ConfigException.class)
          .hasMessage(
              "12 entries of above were chosen by a calibration but r 2 needs 24; calibrate with"
                  + " the config that is attached");
    }
  }

  @Test
  void entries_of_other_adapters_are_left_out() {
    var net = new Net();
    var adapters = Adapters.of(net.tree, FACTS);
    try (Prepared first = net.calibrated(CONFIG)) {
      adapters.attach(
          "one", CONFIG, AttachOptions.of(InitSource.seeded(1).withPrepared(first.values())));

      try (Prepared second = net.calibrated(CONFIG.withNonOverlapWith("one"))) {
        assertThat(chosen(second, "below"))
            .hasSize(13)
            .doesNotContainAnyElementsOf(chosen(first, "below"));
      }
    }
  }

  @Test
  void other_adapters_are_off_and_training_is_as_before_afterwards() {
    var net = new Net();
    net.tree.train(true);
    try (Prepared plain = net.calibrated(CONFIG)) {
      Adapters.of(net.tree, FACTS)
          .attach(
              "other",
              CONFIG.withMask(ShiraMask.Known.RANDOM).withZeroStart(false),
              AttachOptions.seeded(1));
      var modes = new ArrayList<Boolean>();

      try (Prepared beside =
          ShiraCalibration.run(
              net.tree,
              FACTS,
              CONFIG,
              CalibrationOptions.defaults(),
              () -> {
                modes.add(net.below.training());
                return net.backward();
              })) {
        assertThat(chosen(beside, "below")).isEqualTo(chosen(plain, "below"));
      }
      assertThat(modes).containsExactly(false);
      assertThat(net.below.training()).isTrue();
      assertThat(net.below.adapters().disabled()).isFalse();
    }
  }

  @Test
  void what_can_not_be_calibrated_is_refused_before_any_batch_is_run() {
    var net = new Net();
    net.tree.with("tokens", new Embedding(new Tree.Draw(7).normal(9, 4)));

    assertThatThrownBy(() -> net.calibrated(CONFIG.withMask(ShiraMask.Known.STRUCT)))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "mask_type struct needs no calibration; take gradient or snip, or attach without one");
    assertThatThrownBy(() -> net.calibrated(CONFIG.withTargets(Targets.named("tokens"))))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageStartingWith("tokens is a Embedding but SHiRA adapts Linear only");
    assertThatThrownBy(() -> net.calibrated(CONFIG.withR(4)))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining("take an r of at most");
    assertThat(net.runs).isZero();
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
    assertThatThrownBy(
            () ->
                ShiraCalibration.run(
                    net.tree, FACTS, CONFIG, CalibrationOptions.defaults(), () -> 0))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("have no tokens to learn from");
    assertThat(net.above.observed()).isFalse();
  }
}
