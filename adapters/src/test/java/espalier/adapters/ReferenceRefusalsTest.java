package espalier.adapters;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.combine.ConversionRank;
import espalier.adapters.combine.LoraConversion;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraVariant;
import espalier.adapters.shira.ShiraConfig;
import espalier.nn.Adaptable;
import espalier.nn.Int4Weight;
import espalier.nn.Linear;
import espalier.nn.Recompute;
import espalier.nn.Rows;
import espalier.nn.Scope;
import espalier.nn.TokenIds;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.Stream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** What the reference refuses and this library does is refused where that is asked for. */
class ReferenceRefusalsTest {

  private Scope scope = Scope.graph();
  private Tree.Draw draw = new Tree.Draw(5);

  @BeforeEach
  void open() {
    scope.close();
    scope = Scope.graph();
    draw = new Tree.Draw(5);
  }

  @AfterEach
  void close() {
    scope.close();
  }

  private static Adapters on(Adaptable layer) {
    return Tree.adapters(layer);
  }

  private Adapters with(LoraVariant variant) {
    Adapters adapters = on(new Linear(draw.normal(6, 8), null));
    adapters.attach("one", config(variant), 1);
    return adapters;
  }

  private static LoraConfig config(LoraVariant variant) {
    return LoraConfig.builder().r(2).targets(Targets.named("layer")).variant(variant).build();
  }

  /** Runs what is refused, then switches the refusal off and runs it again. */
  private static void refusedOnlyWhenAsked(Adapters adapters, String why, ThrowingCallable body) {
    adapters.referenceRefusals(true);

    assertThatThrownBy(body)
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageContaining(why)
        .hasMessageContaining("switch referenceRefusals off");

    adapters.referenceRefusals(false);
    assertThatCode(body).doesNotThrowAnyException();
  }

  @Test
  void merging_qalora() {
    Linear layer = new Linear(Int4Weight.quantise(draw.normal(10, 32), ScalarType.Float, 8), null);
    Adapters adapters = on(layer);
    LoraConfig config = config(new LoraVariant.Qalora()).toBuilder().qaloraGroupSize(8).build();
    adapters.attach("one", config, 1);
    Tensor before = layer.weight().clone();

    adapters.referenceRefusals(true);
    assertThatThrownBy(() -> adapters.switchTo(List.of("one"), false))
        .isInstanceOf(UnsupportedAdapterException.class);
    refusedOnlyWhenAsked(
        adapters,
        "the reference does not merge use_qalora",
        () -> {
          assertThat(layer.weight().equal(before)).isTrue();
          adapters.merge(true);
        });
    assertThat(adapters.merged()).containsExactly("one");
  }

  @ParameterizedTest
  @EnumSource(names = {"LINEAR", "CONV1D_OF_GPT2", "EMBEDDING", "CONVOLUTION_2D"})
  void rows_of_a_batch_with_dora(LayerKind kind) {
    Adaptable layer = kind.layer(ScalarType.Float);
    Adapters adapters = on(layer);
    adapters.attach("one", config(new LoraVariant.Dora()), 1);
    Tensor x = kind.input(ScalarType.Float);
    var names = new ArrayList<>(Collections.nCopies((int) x.size(0), "one"));
    names.set(0, Rows.BASE);

    refusedOnlyWhenAsked(
        adapters,
        "one at layer: the reference gives no rows of a batch to use_dora",
        () -> adapters.mixed(names, x.size(0), () -> layer.forward(x)));
  }

  @Test
  void a_batch_whose_rows_do_not_use_the_dora_adapter_is_never_refused() {
    Adapters adapters = with(new LoraVariant.Dora()).referenceRefusals(true);
    adapters.add("plain", config(new LoraVariant.Plain()), AttachOptions.seeded(2));
    Adaptable layer = ((Tree) adapters.model()).at("layer");
    Tensor x = draw.normal(2, 8);

    Tensor y = adapters.mixed(List.of("plain", Rows.BASE), 2, () -> layer.forward(x));

    assertThat(y.shape()).containsExactly(2, 6);
  }

  @Test
  void a_second_checkpointed_forward_of_alora_before_backward() {
    Adapters adapters = with(new LoraVariant.Alora(List.of(5)));
    Adaptable layer = ((Tree) adapters.model()).at("layer");
    adapters.model().train(true);
    Tensor x = draw.normal(1, 3, 8);

    refusedOnlyWhenAsked(
        adapters,
        "with gradient checkpointing the reference runs one forward a backward",
        () -> {
          Tensor first = checkpointed(layer, x, 1, 5, 2);
          Tensor second = checkpointed(layer, x, 5, 1, 2);
          first.add(second).sum().backward();
        });
  }

  @Test
  void one_checkpointed_forward_of_alora_after_the_other_is_never_refused() {
    Adapters adapters = with(new LoraVariant.Alora(List.of(5))).referenceRefusals(true);
    Adaptable layer = ((Tree) adapters.model()).at("layer");
    adapters.model().train(true);
    Tensor x = draw.normal(1, 3, 8);

    checkpointed(layer, x, 1, 5, 2).sum().backward();
    checkpointed(layer, x, 5, 1, 2).sum().backward();

    assertThat(adapters.parameters().values()).allMatch(p -> p.grad().defined());
  }

  @Test
  void a_forward_that_no_backward_followed_is_forgotten_in_evaluation() {
    Adapters adapters = with(new LoraVariant.Alora(List.of(5))).referenceRefusals(true);
    Adaptable layer = ((Tree) adapters.model()).at("layer");
    Tensor x = draw.normal(1, 3, 8);
    adapters.model().train(true);
    checkpointed(layer, x, 1, 5, 2);

    adapters.model().train(false);
    adapters.model().train(true);

    assertThatCode(() -> checkpointed(layer, x, 5, 1, 2).sum().backward())
        .doesNotThrowAnyException();
  }

  private static Tensor checkpointed(Adaptable layer, Tensor x, long... ids) {
    return TokenIds.of(new long[][] {ids}).during(() -> Recompute.in(x, layer::forward));
  }

  @Test
  void beam_search_with_alora() {
    Adapters adapters = with(new LoraVariant.Alora(List.of(5)));
    Adaptable layer = ((Tree) adapters.model()).at("layer");
    Tensor x = draw.normal(2, 3, 8);
    TokenIds beams = TokenIds.of(new long[][] {{1, 5, 2}, {1, 5, 3}}).asBeams();

    refusedOnlyWhenAsked(
        adapters, "the reference has no beam search", () -> beams.during(() -> layer.forward(x)));
  }

  static Stream<AdapterConfig> unconverted() {
    return Stream.of(
        HiraConfig.defaults().withR(2).withTargets(Targets.named("layer")),
        ShiraConfig.defaults().withR(2).withTargets(Targets.named("layer")));
  }

  @ParameterizedTest
  @MethodSource("unconverted")
  void converting_hira_and_shira_to_lora(AdapterConfig config) {
    Adapters adapters = on(new Linear(draw.normal(6, 8), null));
    adapters.attach("one", config, 1);
    there(adapters.on("one").get("layer"))
        .parameters()
        .values()
        .forEach(p -> p.set_requires_grad(false).fill_(new Scalar(0.1)));

    refusedOnlyWhenAsked(
        adapters,
        "the reference does not convert " + config.peftType(),
        () -> LoraConversion.convert(adapters, "one", new ConversionRank.Fixed(2)));
  }

  @Test
  void saving_one_of_several_methods() {
    Adapters adapters = with(new LoraVariant.Plain()).allowMixedMethods();
    adapters.add(
        "two", HiraConfig.defaults().withTargets(Targets.named("layer")), AttachOptions.seeded(2));

    refusedOnlyWhenAsked(
        adapters,
        "one can not be saved because its model has adapters of [HIRA, LORA]",
        () -> adapters.contents("one", SaveStart.AUTO));
  }

  @Test
  void an_adapter_that_comes_later_refuses_too() {
    Adapters adapters = with(new LoraVariant.Plain()).referenceRefusals(true);
    adapters.add("two", config(new LoraVariant.Dora()), AttachOptions.seeded(2));
    Adaptable layer = ((Tree) adapters.model()).at("layer");
    Tensor x = draw.normal(1, 8);

    assertThatThrownBy(() -> adapters.mixed(List.of("two"), 1, () -> layer.forward(x)))
        .isInstanceOf(UnsupportedAdapterException.class);
  }
}
