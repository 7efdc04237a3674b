package espalier.adapters.lora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Adapters;
import espalier.adapters.Attached;
import espalier.adapters.ModelFacts;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.combine.ConversionRank;
import espalier.adapters.combine.LoraConversion;
import espalier.nn.MultiheadAttention;
import espalier.nn.Rows;
import espalier.nn.Scope;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;

/** LoRA on attention whose queries, keys and values come from one weight. */
class PackedAttentionTest {

  private Scope scope = Scope.open();
  private Tree model = Tree.empty();
  private MultiheadAttention attention = attention();
  private Adapters adapters = Adapters.of(model, ModelFacts.of("own"));

  @BeforeEach
  void open() {
    scope.close();
    scope = Scope.open();
    attention = attention();
    model = Tree.empty().with("block.attn", attention);
    adapters = Adapters.of(model, ModelFacts.of("own"));
  }

  @AfterEach
  void close() {
    model.close();
    scope.close();
  }

  private static MultiheadAttention attention() {
    var draw = new Tree.Draw(6);
    Map<String, Tensor> weights =
        Map.of("in_proj_weight", draw.normal(18, 6), "out_proj.weight", draw.normal(6, 6));
    return new MultiheadAttention(weights::get, 2);
  }

  @ParameterizedTest
  @ValueSource(strings = {"HIRA", "GRALORA", "SHIRA", "LOHA", "LOKR", "MISS", "OFT"})
  void no_other_method_adapts_attention(String type) {
    AdapterConfig config =
        AdapterCatalog.standard()
            .read(
                JsonMapper.shared()
                    .createObjectNode()
                    .put("peft_type", type)
                    .put("r", type.equals("OFT") ? 0 : 2)
                    .put("target_modules", ".*attn"))
            .config();

    assertThatThrownBy(() -> adapters.attach("one", config, 1))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "block.attn is a MultiheadAttention and a part of attention, which %s does not adapt;"
                + " take it out of target_modules",
            type);
    assertThat(adapters.names()).isEmpty();
  }

  private static LoraConfigBuilder lora() {
    return LoraConfig.builder().r(2).init(new LoraInit.Unset()).targets(Targets.named("attn"));
  }

  static Stream<LoraInit> starts() {
    return Stream.of(
        new LoraInit.Pissa(),
        new LoraInit.FastPissa(2),
        new LoraInit.Olora(),
        new LoraInit.Orthogonal(),
        new LoraInit.Mica());
  }

  @ParameterizedTest
  @MethodSource("starts")
  void a_start_that_takes_something_out_of_the_base_is_refused(LoraInit init) {
    LoraConfig config = lora().init(init).build();

    assertThatThrownBy(() -> adapters.attach("one", config, 1))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageContaining("init_lora_weights");
    assertThat(adapters.names()).isEmpty();
  }

  @Test
  void it_is_not_converted_to_factors_of_one_product() {
    adapters.attach("one", lora().build(), 1);

    assertThatThrownBy(() -> LoraConversion.convert(adapters, "one", new ConversionRank.Fixed(2)))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessageContaining("not one matrix");
  }

  private Tensor output() {
    return attention.forward(new Tree.Draw(2).normal(2, 4, 6));
  }

  @Test
  void both_products_are_adapted_under_the_references_keys() {
    Attached attached = adapters.attach("one", lora().build(), 1);

    assertThat(attached.modules()).containsExactly("block.attn", "block.attn.out_proj");
    assertThat(adapters.state("one"))
        .containsOnlyKeys(
            "base_model.model.block.attn.lora_A.weight",
            "base_model.model.block.attn.lora_B.weight",
            "base_model.model.block.attn.base_layer.out_proj.lora_A.weight",
            "base_model.model.block.attn.base_layer.out_proj.lora_B.weight");
  }

  @Test
  void dropout_has_no_effect_on_it() {
    try (var _ = new NoGradGuard()) {
      adapters.attach("one", lora().dropout(0.9).build(), 1);
      Tensor used = output();

      model.train(true);

      assertThat(output().equal(used)).isTrue();
    }
  }

  @Test
  void variants_and_rows_with_adapters_of_their_own_are_refused() {
    for (var variant :
        List.of(
            new LoraVariant.Dora(),
            new LoraVariant.Alora(List.of(1)),
            new LoraVariant.Velora(2, 1, "random"))) {
      assertThatThrownBy(() -> adapters.attach("one", lora().variant(variant).build(), 1))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessageContaining("block.attn");
    }
    assertThat(adapters.names()).isEmpty();
    adapters.attach("one", lora().build(), 1);

    assertThatThrownBy(() -> adapters.mixed(List.of("one", Rows.BASE), 2, this::output))
        .hasMessageContaining("rows of one batch can not have different adapters");
  }
}
