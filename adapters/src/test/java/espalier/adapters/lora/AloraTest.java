package espalier.adapters.lora;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Rows;
import espalier.nn.TokenIds;
import java.util.ArrayList;
import java.util.List;
import java.util.logging.Handler;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class AloraTest {

  private final Tree.Draw draw = new Tree.Draw(6);
  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static LoraConfigBuilder waiting(Integer... tokens) {
    return builder().variant(new LoraVariant.Alora(List.of(tokens)));
  }

  private static LoraConfigBuilder builder() {
    return LoraConfig.builder()
        .r(2)
        .alpha(3)
        .init(new LoraInit.Unset())
        .targets(espalier.adapters.Targets.named("layer"));
  }

  private Linear layer() {
    return new Linear(draw.normal(6, 8), draw.normal(6));
  }

  private static LoraLinear on(Linear layer, LoraConfigBuilder config) {
    return (LoraLinear) config.build().create(layer, "l", Init.shared(1));
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void it_is_the_base_before_the_call_and_plain_lora_from_there_on(boolean bias) {
    Linear layer = layer();
    LoraLinear alora = on(layer, waiting(5, 6).loraBias(bias));
    LoraLinear plain = on(layer, builder().loraBias(bias));
    Tensor x = draw.normal(2, 4, 8);
    TokenIds ids = TokenIds.of(new long[][] {{1, 2, 5, 6}, {5, 6, 5, 7}});

    Tensor first = ids.during(() -> alora.first(x));
    Tensor y = draw.normal(2, 4, 6);
    Tensor kept = y.clone();
    Tensor later = ids.during(() -> alora.forward(x, y));

    Tensor base = layer.base(x);
    Tensor whole = plain.first(x);
    assertThat(first.select(0, 0).narrow(0, 0, 2).equal(base.select(0, 0).narrow(0, 0, 2)))
        .isTrue();
    assertThat(gap(first.select(0, 0).narrow(0, 2, 2), whole.select(0, 0).narrow(0, 2, 2)))
        .isLessThan(1e-5);
    assertThat(gap(first.select(0, 1), whole.select(0, 1))).isLessThan(1e-5);
    assertThat(gap(later.sub(y), first.sub(base))).isLessThan(1e-5);
    assertThat(y.equal(kept)).isTrue();
  }

  @Test
  void a_matrix_of_inputs_is_one_position_a_row() {
    Linear layer = layer();
    LoraLinear alora = on(layer, waiting(5));
    Tensor x = draw.normal(3, 8);

    Tensor y = TokenIds.of(new long[][] {{5, 1}, {1, 1}, {1, 5}}).during(() -> alora.first(x));

    Tensor plain = on(layer, builder()).first(x);
    assertThat(gap(y.select(0, 0), plain.select(0, 0))).isLessThan(1e-5);
    assertThat(y.select(0, 1).equal(layer.base(x).select(0, 1))).isTrue();
    assertThat(gap(y.select(0, 2), plain.select(0, 2))).isLessThan(1e-5);
  }

  @Test
  void gradients_come_from_the_positions_behind_the_call_alone() {
    Linear layer = layer();
    LoraLinear alora = on(layer, waiting(5));
    LoraLinear plain = on(layer, builder());
    alora.trainable(true);
    plain.trainable(true);
    Tensor x = draw.normal(2, 4, 8);
    TokenIds ids = TokenIds.of(new long[][] {{1, 2, 5, 6}, {1, 2, 3, 4}});

    ids.during(() -> alora.first(x)).sin().sum().backward();
    plain.first(x.select(0, 0).narrow(0, 2, 2)).sin().sum().backward();

    assertThat(gap(alora.a().grad(), plain.a().grad())).isLessThan(1e-5);
    assertThat(gap(alora.b().grad(), plain.b().grad())).isLessThan(1e-5);
  }

  @Test
  void a_batch_without_the_call_has_gradients_of_zero_and_is_told_of_once() {
    LoraLinear alora = on(layer(), waiting(77, 78));
    alora.trainable(true);
    alora.train(true);
    TokenIds ids = TokenIds.of(new long[][] {{1, 2}, {3, 4}});
    Tensor x = draw.normal(2, 2, 8);

    List<String> told =
        told(
            () -> {
              ids.during(() -> alora.first(x)).sum().backward();
              ids.during(() -> alora.first(x)).sum().backward();
            });

    assertThat(alora.a().grad().any().item_bool()).isFalse();
    assertThat(alora.b().grad().any().item_bool()).isFalse();
    assertThat(told)
        .containsExactly(
            "2 examples of a batch do not hold alora_invocation_tokens [77, 78], so the adapter"
                + " learns nothing from them; later ones are not reported");
  }

  @Test
  void where_no_tokens_are_known_it_is_off_with_a_warning() {
    Linear layer = layer();
    LoraLinear alora = on(layer, waiting(79));
    Tensor x = draw.normal(2, 2, 8);
    var results = new ArrayList<Tensor>();

    List<String> told =
        told(
            () -> {
              results.add(alora.first(x));
              results.add(alora.first(x));
            });

    assertThat(results).allMatch(y -> y.equal(layer.base(x)));
    assertThat(told).hasSize(1);
    assertThat(told.getFirst()).contains("[79]", "so it is off", "TokenIds.offsets");
  }

  private static List<String> told(Runnable body) {
    var told = new ArrayList<String>();
    Logger logger = Logger.getLogger("espalier.adapters");
    var handler =
        new Handler() {
          @Override
          public void publish(LogRecord entry) {
            told.add(entry.getMessage());
          }

          @Override
          public void flush() {}

          @Override
          public void close() {}
        };
    logger.addHandler(handler);
    try {
      body.run();
    } finally {
      logger.removeHandler(handler);
    }
    return told;
  }

  @Test
  void each_row_of_a_mixed_batch_waits_for_the_tokens_of_its_own_adapter() {
    Linear layer = layer();
    Tree tree = Tree.empty().with("layer", layer);
    var adapters = Adapters.of(tree, ModelFacts.of("llama"));
    adapters.attach("five", waiting(5).build(), AttachOptions.seeded(1));
    adapters.attach("six", waiting(6).build(), AttachOptions.seeded(2));
    adapters.attach("plain", builder().build(), AttachOptions.seeded(3));
    Tensor x = draw.normal(5, 3, 8);
    long[] text = {1, 5, 6};
    List<String> names = List.of("six", "plain", "five", Rows.BASE, "six");

    Tensor mixed = mixed(adapters, names, text, x);
    Tensor alike = mixed(adapters, List.of("six", "five"), text, x.narrow(0, 0, 2));

    for (int row = 0; row < 5; row++) {
      Tensor alone = mixed(adapters, List.of(names.get(row)), text, x.narrow(0, row, 1));
      assertThat(gap(mixed.narrow(0, row, 1), alone)).as(names.get(row)).isLessThan(1e-5);
    }
    assertThat(alike.select(0, 0).equal(mixed.select(0, 0))).isTrue();
    Tensor base = layer.base(x);
    assertThat(mixed.select(0, 0).narrow(0, 0, 2).equal(base.select(0, 0).narrow(0, 0, 2)))
        .isTrue();
    assertThat(gap(mixed.select(0, 2).select(0, 1), base.select(0, 2).select(0, 1)))
        .isGreaterThan(1e-3);
    assertThat(gap(mixed.select(0, 1).select(0, 0), base.select(0, 1).select(0, 0)))
        .isGreaterThan(1e-3);
  }

  private static Tensor mixed(Adapters adapters, List<String> names, long[] text, Tensor x) {
    long[][] ids = new long[names.size()][];
    java.util.Arrays.fill(ids, text);
    Linear layer = (Linear) there(adapters.model().find("layer"));
    try (var _ = new NoGradGuard()) {
      return TokenIds.of(ids)
          .during(() -> adapters.mixed(names, names.size(), () -> layer.forward(x)));
    }
  }

  @Test
  void merging_is_refused_and_leaves_the_weight() {
    Linear layer = layer();
    Tensor before = layer.weight().clone();
    var adapters = Tree.adapters(layer);
    adapters.attach("one", waiting(5).build(), 1);

    assertThatThrownBy(() -> adapters.merge(false))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageContaining("acts on a part of each row only");
    assertThatThrownBy(() -> adapters.merge(true)).isInstanceOf(UnsupportedAdapterException.class);
    assertThat(layer.weight().equal(before)).isTrue();
  }
}
