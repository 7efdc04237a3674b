package espalier.adapters;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.hira.HiraConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.adapters.shira.ShiraConfig;
import espalier.nn.Rows;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Adapters whose tensors take no memory until a file fills them. */
class LowMemoryTest extends OnDecoder {

  private static final String Q = "model.layers.0.self_attn.q_proj";
  private static final String A = "base_model.model." + Q + ".lora_A.weight";
  private static final LoadOptions LOW = LoadOptions.defaults().withLowMemory(true);
  private static final LoraConfig LORA =
      LoraConfig.builder().r(2).init(new LoraInit.Unset()).targets(Targets.named("q_proj")).build();

  LowMemoryTest() {
    super(1, 3);
  }

  /** A variant of LoRA on one layer, with a copy of another and rows of the embedding. */
  private static AdapterConfig lora(LoraVariant variant, LoraInit init) {
    return LoraConfig.builder()
        .r(2)
        .variant(variant)
        .init(init)
        .targets(Targets.named("q_proj").saving("k_proj"))
        .tokens(new TokenRows.OfInput(List.of(3, 5)))
        .build();
  }

  static Stream<AdapterConfig> configs() {
    return Stream.of(
        lora(new LoraVariant.Plain(), new LoraInit.Unset()),
        lora(new LoraVariant.Plain(), new LoraInit.Pissa()),
        lora(new LoraVariant.Plain(), new LoraInit.Mica()),
        lora(new LoraVariant.Dora(), new LoraInit.Unset()),
        lora(new LoraVariant.Kasa(0, 0), new LoraInit.Unset()),
        HiraConfig.defaults().withR(2).withTargets(Targets.named("q_proj")),
        ShiraConfig.defaults().withR(2).withTargets(Targets.named("q_proj")));
  }

  @ParameterizedTest
  @MethodSource("configs")
  void one_that_is_loaded_so_computes_the_same(AdapterConfig config) {
    Map<String, Tensor> saved = saved(config);
    adapters.load("one", config, saved, LoadOptions.defaults());
    Tensor wanted = model.at(Q).forward(x);

    try (Tree other = Tree.decoder(1)) {
      var others = Adapters.of(other, Tree.facts());
      LoadResult result = others.load("one", config, saved, LOW.withStrict(true));

      assertThat(result.missing()).isEmpty();
      assertThat(other.at(Q).forward(x).equal(wanted)).isTrue();
      Map<String, Tensor> state = others.state("one");
      adapters
          .state("one")
          .forEach((key, own) -> assertThat(own.equal(there(state.get(key)))).isTrue());
    }
  }

  @Test
  void its_tensors_have_their_shape_and_next_to_no_memory() {
    adapters.attach("one", LORA, AttachOptions.unfilled());

    Tensor a = there(there(adapters.on("one").get(Q)).state().get("lora_A.weight"));

    assertThat(a.shape()).containsExactly(2, 8);
    assertThat(a.storage().nbytes()).isEqualTo(4);
  }

  @Test
  void it_can_be_attached_first_and_filled_later() {
    adapters.attach("one", LORA, AttachOptions.unfilled());
    Map<String, Tensor> saved = saved(LORA);

    adapters.setState("one", saved, LoadOptions.defaults());

    assertThat(there(adapters.state("one").get(A)).equal(there(saved.get(A)))).isTrue();
    assertThat(model.at(Q).forward(x).isfinite().all().item_bool()).isTrue();
    assertThat(adapters.parameters()).hasSize(2);
  }

  @Test
  void a_tensor_that_was_never_filled_is_named_at_its_first_use_whatever_the_use() {
    Map<String, Tensor> half = saved(LORA);
    half.remove(A);

    LoadResult result = adapters.load("one", LORA, half, LOW);

    assertThat(result.missing()).containsExactly(A);
    assertThat(result.warnings())
        .contains(
            "1 tensors are missing and must be filled before the adapter is used, the first is "
                + A);
    Tensor before = model.at(Q).weight().clone();
    for (ThrowingCallable use :
        List.<ThrowingCallable>of(
            () -> model.at(Q).forward(x),
            () -> adapters.mixed(List.of("one", Rows.BASE, "one"), 3, () -> model.at(Q).forward(x)),
            () -> adapters.merge(false),
            () -> adapters.switchTo(List.of("one"), false),
            () -> adapters.state("one"),
            () -> adapters.contents("one", SaveStart.AUTO))) {
      assertThatThrownBy(use)
          .isInstanceOf(StateMismatchException.class)
          .hasMessage(
              Q
                  + ": lora_A.weight of the adapter one was attached with lowMemory and never"
                  + " filled; load a file that has it, or attach without lowMemory");
    }
    assertThat(adapters.merged()).isEmpty();
    assertThat(model.at(Q).weight().equal(before)).isTrue();
  }

  @Test
  void while_another_adapter_is_active_an_unfilled_one_does_not_matter() {
    adapters.attach("one", LORA, 1);
    adapters.add("two", LORA, AttachOptions.unfilled());

    assertThat(model.at(Q).forward(x).isfinite().all().item_bool()).isTrue();
  }

  @Test
  void swapping_another_adapter_in_fills_it() {
    adapters.attach("one", LORA, AttachOptions.unfilled());

    adapters.swap("one", LORA, saved(LORA));

    assertThat(model.at(Q).forward(x).isfinite().all().item_bool()).isTrue();
  }

  // ---- where it lies, and what did not fit

  @Test
  void the_device_of_the_base_is_understood_and_another_is_refused_before_anything_changes() {
    adapters.load("one", LORA, saved(LORA), LoadOptions.defaults().withDevice("cpu"));

    assertThatThrownBy(
            () ->
                adapters.load(
                    "two", LORA, saved(LORA), LoadOptions.defaults().withDevice("cuda:0")))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "device is cuda:0 but the base lies on cpu, and an adapter lies where its base does;"
                + " leave device out (this build computes on the CPU)");
    assertThat(adapters.names()).containsExactly("one");
  }

  @Test
  void ephemeral_offload_changes_no_number_and_says_that_it_has_no_effect() {
    LoraConfig dora = LORA.toBuilder().variant(new LoraVariant.Dora()).build();
    Map<String, Tensor> saved = saved(dora);
    adapters.load("one", dora, saved, LoadOptions.defaults());
    Tensor wanted = model.at(Q).forward(x);

    try (Tree other = Tree.decoder(1)) {
      var others = Adapters.of(other, Tree.facts());
      LoadResult result =
          others.load("one", dora, saved, LoadOptions.defaults().withEphemeralOffload(true));

      assertThat(result.warnings()).anyMatch(w -> w.startsWith("ephemeralOffload has no effect"));
      assertThat(other.at(Q).forward(x).equal(wanted)).isTrue();
    }
  }

  @Test
  void missing_unexpected_and_mismatched_keys_are_told_apart() {
    LoraConfig both =
        LORA.toBuilder().targets(Targets.named("q_proj", "v_proj", "up_proj")).build();
    Map<String, Tensor> saved = saved(both);
    String prefix = "base_model.model.model.layers.0.";
    saved.remove(prefix + "self_attn.v_proj.lora_B.weight");
    saved.put(prefix + "mlp.up_proj.lora_A.weight", new Tree.Draw(1).normal(2, 9));
    saved.put(prefix + "mlp.gate_proj.lora_A.weight", new Tree.Draw(1).normal(2, 8));

    LoadResult result =
        adapters.load("one", both, saved, LoadOptions.defaults().withIgnoreMismatched(true));

    assertThat(result.missing()).containsExactly(prefix + "self_attn.v_proj.lora_B.weight");
    assertThat(result.unexpected()).containsExactly(prefix + "mlp.gate_proj.lora_A.weight");
    assertThat(result.mismatched()).containsExactly(prefix + "mlp.up_proj.lora_A.weight");
    assertThat(result.warnings()).hasSize(3);
    assertThat(model.at("model.layers.0.mlp.up_proj").forward(x).isfinite().all().item_bool())
        .isTrue();
  }
}
