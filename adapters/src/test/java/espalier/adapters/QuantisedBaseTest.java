package espalier.adapters;

import static espalier.adapters.Tree.gap;
import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.hirasb.HiraSbConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Adapter;
import espalier.nn.ExpertWeight;
import espalier.nn.Float8Weight;
import espalier.nn.FourBit;
import espalier.nn.FourBitWeight;
import espalier.nn.Int4Weight;
import espalier.nn.Int8Weight;
import espalier.nn.Linear;
import espalier.nn.QuantisedWeight;
import espalier.nn.Rows;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;

/** Every method on a base that stays quantised, against the same base decoded beforehand. */
class QuantisedBaseTest {

  @RegisterExtension final NativeScope scope = NativeScope.graph();

  private static AdapterConfig config(String fields) {
    String json = "{%s, \"target_modules\": [\"layer\"]}".formatted(fields.replace('\'', '"'));
    return AdapterCatalog.standard().read(JsonMapper.shared().readTree(json).asObject()).config();
  }

  private static Tensor weight() {
    return new Tree.Draw(3).normal(12, 64);
  }

  private static Tensor bias() {
    return new Tree.Draw(4).normal(12);
  }

  private static QuantisedWeight codes(String form) {
    return switch (form) {
      case "nf4" -> FourBitWeight.quantise(weight(), FourBit.NF4, ScalarType.Float);
      case "fp4" -> FourBitWeight.quantise(weight(), FourBit.FP4, ScalarType.Float);
      case "float8_e4m3fn" ->
          Float8Weight.quantise(weight(), ScalarType.Float8_e4m3fn, ScalarType.Float);
      case "int8" -> Int8Weight.quantise(weight(), ScalarType.Float);
      default -> Int4Weight.quantise(weight(), ScalarType.Float, 16);
    };
  }

  private static Linear quantised(String form) {
    return new Linear(codes(form), bias());
  }

  private static Linear decoded(String form) {
    Linear layer = quantised(form);
    layer.dequantise();
    return layer;
  }

  private static Adapters on(Linear layer) {
    return Tree.adapters(layer);
  }

  private static Adapter adapter(Adapters adapters) {
    return there(adapters.on("default").get("layer"));
  }

  /** An adapter with its tensors moved away from the start. */
  private static Adapters trained(Linear layer, String fields) {
    Adapters adapters = on(layer);
    Map<String, Tensor> gradient = // for a method that starts from one
        Map.of(HiraSbConfig.GRADIENT, new Tree.Draw(9).normal(12, 64));
    adapters.attach(
        "default",
        config(fields),
        AttachOptions.of(InitSource.seeded(5).withPrepared(Map.of("layer", gradient))));
    var draw = new Tree.Draw(6);
    try (var _ = new NoGradGuard()) {
      adapter(adapters)
          .parameters()
          .values()
          .forEach(p -> p.add_(draw.normal(p.shape()).mul(new Scalar(0.1))));
    }
    return adapters;
  }

  private static Tensor input() {
    return new Tree.Draw(8).normal(2, 5, 64).set_requires_grad(true);
  }

  // half the widest gap between two levels
  private static double halfStep(String form) {
    return switch (form) {
      case "nf4" -> 0.16;
      case "fp4" -> 0.18;
      case "float8_e4m3fn" -> 1.0 / 16;
      default -> 0.5 / 127;
    };
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "'peft_type': 'LORA', 'r': 4",
        "'peft_type': 'LORA', 'r': 4, 'lora_bias': true",
        "'peft_type': 'LORA', 'r': 4, 'use_rslora': true, 'lora_alpha': 3",
        "'peft_type': 'LORA', 'r': 4, 'use_dora': true",
        "'peft_type': 'HIRA', 'r': 4",
        "'peft_type': 'HIRA', 'r': 4, 'hira_blocks': 2",
        "'peft_type': 'GRALORA', 'r': 4, 'gralora_k': 2",
        "'peft_type': 'SHIRA', 'r': 2",
        "'peft_type': 'ABBA', 'r1': 2, 'r2': 2",
        "'peft_type': 'ADALORA', 'init_r': 4, 'total_step': 9",
        "'peft_type': 'LOHA', 'r': 4",
        "'peft_type': 'MISS', 'r': 4",
        "'peft_type': 'MISS', 'r': 2, 'init_weights': 'bat'",
        "'peft_type': 'OFT', 'oft_block_size': 4",
        "'peft_type': 'LOKR', 'r': 2",
        "'peft_type': 'HIRA_SB', 'r': 4",
        "'peft_type': 'HIRA_SB', 'r': 4, 'space': 'additive'"
      })
  void a_method_computes_what_it_does_over_the_decoded_weight(String fields) {
    for (String form : List.of("nf4", "fp4", "int8", "float8_e4m3fn")) {
      Linear layer = quantised(form);
      Linear plain = decoded(form);
      try (var _ = layer;
          var _ = plain) {
        Adapters ours = trained(layer, fields);
        Adapters theirs = trained(plain, fields);
        Tensor x = input();
        Tensor same = input();
        layer.train(true);
        plain.train(true);

        Tensor y = layer.forward(x);
        y.square().sum().backward();
        Tensor wanted = plain.forward(same);
        wanted.square().sum().backward();

        double scale = same.grad().abs().max().item_double();
        assertThat(gap(y, wanted)).as("output on %s", form).isLessThan(1e-3);
        assertThat(gap(x.grad(), same.grad()) / scale).as("input on %s", form).isLessThan(1e-4);
        Map<String, Tensor> expected = theirs.parameters();
        ours.parameters()
            .forEach(
                (key, p) -> {
                  Tensor g = new Tensor(p.grad());
                  Tensor w = new Tensor(there(expected.get(key)).grad());
                  double largest = Math.max(1, w.abs().max().item_double());
                  assertThat(gap(g, w) / largest).as(key).isLessThan(1e-4);
                });
        // Mixed rows go past first().
        Tensor rows =
            ScopedValue.where(Rows.ADAPTERS, List.of("default", Rows.BASE))
                .call(() -> layer.forward(x));
        assertThat(gap(rows.select(0, 0), wanted.select(0, 0))).isLessThan(1e-3);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "'peft_type': 'LORA', 'r': 4, 'lora_bias': true",
        "'peft_type': 'LORA', 'r': 4, 'use_dora': true",
        "'peft_type': 'HIRA', 'r': 4",
        "'peft_type': 'HIRA', 'r': 4, 'hira_blocks': 2",
        "'peft_type': 'HIRA_SB', 'r': 4",
        "'peft_type': 'GRALORA', 'r': 4, 'gralora_k': 2",
        "'peft_type': 'ABBA', 'r1': 2, 'r2': 2",
        "'peft_type': 'ADALORA', 'init_r': 4, 'total_step': 9",
        "'peft_type': 'LOHA', 'r': 4",
        "'peft_type': 'MISS', 'r': 4",
        "'peft_type': 'MISS', 'r': 2, 'init_weights': 'bat'",
        "'peft_type': 'OFT', 'oft_block_size': 4",
        "'peft_type': 'LOKR', 'r': 2",
        "'peft_type': 'SHIRA', 'r': 2"
      })
  void merging_rounds_to_the_grid_and_unmerging_brings_every_code_back(String fields) {
    for (String form : List.of("nf4", "fp4", "int8", "float8_e4m3fn")) {
      Linear layer = quantised(form);
      try (var _ = layer;
          var _ = new NoGradGuard()) {
        Adapters adapters = trained(layer, fields);
        Tensor before = layer.weight();
        Tensor unmerged = layer.forward(input());
        Tensor sum = adapter(adapters).mergedInto(before.clone());

        MergeResult result = adapters.merge(true);

        // times the largest value of a block or a row
        double step = halfStep(form) * sum.abs().max().item_double();
        assertThat(gap(layer.weight(), sum)).isBetween(1e-6, step);
        assertThat(there(layer.quantised()).format()).isEqualTo(form);
        assertThat(result.warnings()).anyMatch(w -> w.contains("rounded to their form"));
        assertThat(gap(layer.forward(input()), unmerged)).isLessThan(form.equals("int8") ? 0.5 : 8);

        adapters.unmerge();

        assertThat(layer.weight().equal(before)).isTrue();
        assertThat(layer.forward(input()).equal(unmerged)).isTrue();
      }
    }
  }

  @Test
  void a_dequantised_base_takes_the_merge_without_rounding() {
    try (Linear layer = quantised("nf4");
        var _ = new NoGradGuard()) {
      Adapters adapters = trained(layer, "'peft_type': 'LORA', 'r': 4, 'lora_bias': true");
      Tensor unmerged = layer.forward(input());
      layer.dequantise();

      MergeResult result = adapters.merge(true);

      assertThat(result.warnings()).isEmpty();
      assertThat(gap(layer.forward(input()), unmerged)).isLessThan(1e-4);
    }
  }

  @Test
  void the_merged_bias_is_scaled_as_the_branch_is() {
    try (Linear layer = quantised("int8");
        var _ = new NoGradGuard()) {
      Adapters adapters =
          trained(layer, "'peft_type': 'LORA', 'r': 4, 'lora_alpha': 2, 'lora_bias': true");
      Tensor own = there(adapter(adapters).state().get("lora_B.bias"));
      Tensor wanted = bias().add(own.mul(new Scalar(0.5)));

      adapters.merge(true);

      assertThat(gap(there(layer.bias()), wanted)).isLessThan(1e-6);
    }
  }

  @Test
  void two_adapters_are_summed_before_the_one_rounding() {
    try (Linear layer = quantised("nf4");
        Linear other = quantised("nf4");
        var _ = new NoGradGuard()) {
      String fields = "'peft_type': 'LORA', 'r': 4, 'init_lora_weights': false";
      Adapters together = on(layer);
      Adapters apart = on(other);
      for (Adapters each : List.of(together, apart)) {
        each.attach("first", config(fields), AttachOptions.seeded(1));
        each.add("second", config(fields), AttachOptions.seeded(2));
      }

      together.merge(List.of("first", "second"), false);
      apart.merge(List.of("first"), false);
      apart.merge(List.of("second"), false);

      assertThat(layer.weight().equal(other.weight())).isTrue();
      apart.unmerge();
      assertThat(other.weight().equal(decoded("nf4").weight())).isTrue();
    }
  }

  @Test
  void a_merge_that_is_not_finite_leaves_the_codes_alone() {
    try (Linear layer = quantised("nf4");
        var _ = new NoGradGuard()) {
      Adapters adapters = trained(layer, "'peft_type': 'LORA', 'r': 4");
      adapter(adapters).state().values().forEach(t -> t.fill_(new Scalar(Double.NaN)));

      assertThatThrownBy(() -> adapters.merge(true)).isInstanceOf(NotFiniteException.class);

      assertThat(layer.weight().equal(decoded("nf4").weight())).isTrue();
    }
  }

  @Test
  void olora_leaves_a_residual_in_codes() {
    try (Linear layer = quantised("int8")) {
      Tensor before = layer.weight();

      Adapters adapters = on(layer);
      adapters.attach(
          "default",
          config("'peft_type': 'LORA', 'r': 4, 'init_lora_weights': 'olora'"),
          AttachOptions.seeded(1));

      assertThat(there(layer.quantised()).format()).isEqualTo("int8");
      Tensor whole = layer.weight().add(adapter(adapters).deltaWeight());
      assertThat(gap(whole, before)).isLessThan(0.5 / 127 * 6);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = ScalarType.class,
      names = {"Half", "BFloat16", "Float8_e4m3fn", "Float8_e5m2"})
  void adapters_are_float32_over_a_base_of_fewer_bits_however_they_come(ScalarType dtype) {
    try (var layer = new Linear(weight().to(dtype), null)) {
      Adapters adapters = on(layer);
      AdapterConfig config = config("'peft_type': 'LORA', 'r': 2");

      adapters.attach("default", config, AttachOptions.seeded(1));
      adapters.add("other", config, AttachOptions.seeded(2));

      for (String name : List.of("default", "other")) {
        there(adapters.on(name).get("layer"))
            .parameters()
            .values()
            .forEach(p -> assertThat(p.scalar_type().intern()).isEqualTo(ScalarType.Float));
      }
      assertThat(layer.forward(input()).isfinite().all().item_bool()).isTrue();
    }
  }

  @Test
  void adapters_can_not_take_the_dtype_of_a_base_in_which_nothing_is_computed() {
    try (var layer = new Linear(weight().to(ScalarType.Float8_e5m2), null)) {
      Adapters adapters = on(layer);

      assertThatThrownBy(
              () ->
                  adapters.attach(
                      "default",
                      config("'peft_type': 'LORA', 'r': 2"),
                      AttachOptions.seeded(1).withAutocast(false)))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessage(
              "autocast_adapter_dtype is false, by which adapters take the dtype of the base, but"
                  + " that is float8_e5m2, in which nothing can be computed; leave it true for"
                  + " adapters in float32");

      assertThat(adapters.names()).isEmpty();
    }
  }

  private static Adapters withLoraOnExperts(Tree model) {
    Adapters adapters = Adapters.of(model, ModelFacts.of("llama"));
    Targets targets = Targets.named().withParameters(List.of("m.w"));
    LoraConfig config =
        LoraConfig.builder().r(2).alpha(2).init(new LoraInit.Unset()).targets(targets).build();
    adapters.attach("default", config, AttachOptions.seeded(1));
    return adapters;
  }

  @Test
  void what_is_merged_into_float8_beyond_its_range_becomes_its_end() {
    Tensor w = new Tree.Draw(3).normal(3, 6, 5).to(ScalarType.Float8_e4m3fn);
    try (Tree tree = Tree.empty().with("m.w", new ExpertWeight(w, false));
        var _ = new NoGradGuard()) {
      Adapters adapters = withLoraOnExperts(tree);
      adapters.setScale("default", 1e6);

      adapters.merge(true);

      Tensor merged = tree.at("m.w").weight().to(ScalarType.Float);
      assertThat(merged.isfinite().all().item_bool()).isTrue();
      assertThat(merged.abs().max().item_double()).isEqualTo(448);
    }
  }

  @Test
  void stacked_experts_in_float8_are_widened_to_be_used_and_rounded_to_be_merged() {
    Tensor w = new Tree.Draw(3).normal(3, 6, 5).to(ScalarType.Float8_e4m3fn);
    var layer = new ExpertWeight(w, false);
    try (Tree tree = Tree.empty().with("m.w", layer);
        var _ = new NoGradGuard()) {
      Adapters adapters = withLoraOnExperts(tree);
      Adapter lora = there(adapters.on("default").get("m.w"));
      Tensor sum = w.to(ScalarType.Float).add(lora.deltaWeight());
      Tensor x = new Tree.Draw(8).normal(3, 4, 5);

      for (int e = 0; e < 3; e++) {
        Tensor wanted = x.select(0, e).matmul(sum.select(0, e).t());
        assertThat(gap(layer.forward(x.select(0, e), e), wanted)).isLessThan(1e-4);
        assertThat(gap(layer.forward(x).select(0, e), wanted)).isLessThan(1e-4);
      }

      MergeResult result = adapters.merge(true);

      assertThat(result.warnings()).anyMatch(warning -> warning.contains("rounded to their form"));

      assertThat(
              layer
                  .weight()
                  .to(ScalarType.Float)
                  .equal(sum.to(ScalarType.Float8_e4m3fn).to(ScalarType.Float)))
          .isTrue();

      adapters.unmerge();

      assertThat(layer.weight().to(ScalarType.Float).equal(w.to(ScalarType.Float))).isTrue();
    }
  }

  @Test
  void codes_count_as_the_numbers_that_they_stand_for() {
    try (Linear layer = quantised("nf4")) {
      Adapters adapters = trained(layer, "'peft_type': 'LORA', 'r': 2");

      assertThat(adapters.trainableLine())
          .isEqualTo("trainable params: 152 || all params: 932 || trainable%: 16.3090");
      assertThat(adapters.layerStatus().getFirst().quantisation()).isEqualTo("nf4");
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "'velora_config': {}",
        "'monteclora_config': {}",
        "'kasa_config': {}",
        "'use_bdlora': {'target_modules_bd_a': ['layer'], 'nblocks': 2}",
        "'init_lora_weights': 'pissa'",
        "'init_lora_weights': 'mica'"
      })
  void what_needs_the_plain_weight_is_refused_and_nothing_changes(String field) {
    try (Linear layer = quantised("nf4")) {
      Adapters adapters = on(layer);
      AdapterConfig config = config("'peft_type': 'LORA', 'r': 2, " + field);

      assertThatThrownBy(() -> adapters.attach("default", config, AttachOptions.seeded(1)))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessageStartingWith("layer is quantised as nf4, for which ");

      assertThat(adapters.names()).isEmpty();
    }
  }

  @Test
  void loftq_comes_too_late_for_a_base_that_is_quantised() {
    try (Linear layer = quantised("nf4")) {
      Adapters adapters = on(layer);
      AdapterConfig config =
          config(
              "'peft_type': 'LORA', 'r': 2, 'init_lora_weights': 'loftq', 'loftq_config':"
                  + " {'loftq_bits': 4}");

      assertThatThrownBy(() -> adapters.attach("default", config, AttachOptions.seeded(1)))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageStartingWith("layer is quantised as nf4 already but init_lora_weights loftq");

      assertThat(adapters.names()).isEmpty();
    }
  }

  @Test
  void a_base_in_groups_refuses_dora_and_the_merge_of_plain_lora() {
    try (Linear layer = quantised("int4");
        var _ = new NoGradGuard()) {
      assertThatThrownBy(
              () ->
                  on(layer)
                      .attach(
                          "default",
                          config("'peft_type': 'LORA', 'r': 2, 'use_dora': true"),
                          AttachOptions.seeded(1)))
          .isInstanceOf(UnsupportedAdapterException.class);

      Adapters adapters = trained(layer, "'peft_type': 'LORA', 'r': 2");
      Tensor y = layer.forward(input());
      Linear plain = decoded("int4");
      trained(plain, "'peft_type': 'LORA', 'r': 2");

      assertThat(gap(y, plain.forward(input()))).isLessThan(1e-4);
      assertThatThrownBy(() -> adapters.merge(true))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessage(
              "default at layer: the base is stored as int4, in which a changed weight can not be"
                  + " written; dequantise it first (--dequantize)");
      plain.close();
    }
  }
}
