package espalier.adapters.lora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import espalier.adapters.ConfigException;
import espalier.adapters.ConfigHead;
import espalier.adapters.OneOrMany;
import espalier.adapters.Targets;
import espalier.adapters.TaskType;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.node.JsonNodeFactory;

class LoraConfigTest {

  private static LoraConfigBuilder builder() {
    return LoraConfig.builder();
  }

  static Stream<Arguments> wrong() {
    return Stream.of(
        Arguments.of(builder().r(0), "r is 0 but a rank is 1 or more; 8 is the default"),
        Arguments.of(
            builder().dropout(1.5), "lora_dropout is 1.5 but must lie in [0, 1]; 0 turns it off"),
        Arguments.of(
            builder().dropout(Double.NaN),
            "lora_dropout is NaN but must lie in [0, 1]; 0 turns it off"),
        Arguments.of(
            builder().rankPattern(Map.of("q_proj", -1)),
            "rank_pattern has -1 for q_proj but a rank is 1 or more"),
        Arguments.of(
            builder().targets(Targets.named("q").withLayers(null, OneOrMany.one("layers"))),
            "layers_pattern is set but layers_to_transform is not; say which layers, or leave the"
                + " pattern out"),
        Arguments.of(
            builder().init(new LoraInit.FastPissa(-1)),
            "pissa_niter_-1 needs 0 iterations or more; 16 is usual"),
        Arguments.of(
            builder().init(new LoraInit.Loftq(3, 1)), "loftq_bits is 3 but 4 and 8 are known"),
        Arguments.of(
            builder().init(new LoraInit.Eva(0.5, 0.9, true, -100, false, true)),
            "eva_config.rho is 0.5 but 1 or more is needed"),
        Arguments.of(
            builder().init(new LoraInit.Eva(2, 1.5, true, -100, false, true)),
            "eva_config.tau is 1.5 but must lie in [0, 1]"),
        Arguments.of(
            builder().variant(new LoraVariant.Velora(0, 1, "random")),
            "velora_config.num_groups is 0 but 1 or more is needed"),
        Arguments.of(
            builder().variant(new LoraVariant.Monteclora(0, false, 0.1, 1, 1, 1)),
            "monteclora_config.num_samples is 0 but 1 or more is needed"),
        Arguments.of(
            builder().variant(new LoraVariant.Velora(1, 0, "random")),
            "velora_config.scale is 0.0 but more than 0 is needed"),
        Arguments.of(
            builder().variant(new LoraVariant.Velora(1, 1, "mean")),
            "velora_config.init_type is mean but batch_average, batch_average_once and random are"
                + " known"),
        Arguments.of(
            builder().variant(new LoraVariant.Monteclora(1, false, 0, 1, 1, 1)),
            "monteclora_config.dirichlet_prior is 0.0 but more than 0 is needed"),
        Arguments.of(
            builder().variant(new LoraVariant.Monteclora(1, false, 1, 1, 1, 0)),
            "monteclora_config.buffer_size is 0 but 1 or more is needed"),
        Arguments.of(
            builder().variant(new LoraVariant.Arrow(1, 0, false, null, null, null)),
            "arrow_config.router_temperature is 0.0 but more than 0 is needed"),
        Arguments.of(
            builder().variant(new LoraVariant.Kasa(-1, 0)),
            "kasa_config.beta is -1.0 but must not be negative"),
        Arguments.of(
            builder().variant(new LoraVariant.Kasa(0, -1)),
            "kasa_config.gamma is -1.0 but must not be negative"),
        Arguments.of(
            builder().variant(new LoraVariant.Bdlora(null, List.of("q"), 0, true)),
            "use_bdlora.nblocks is 0 but 1 or more is needed"),
        Arguments.of(
            builder().init(new LoraInit.LoraGa(LoraInit.Direction.AR_BR, LoraInit.Scale.UNIT, 0)),
            "lora_ga_config.stable_gamma is 0 but 1 or more is needed; 16 is the default"),
        Arguments.of(
            builder().alpha(Double.POSITIVE_INFINITY),
            "lora_alpha is Infinity but a finite number is needed"),
        Arguments.of(
            builder().variant(new LoraVariant.Arrow(0, 1, false, null, null, null)),
            "arrow_config.top_k is 0 but 1 or more is needed"),
        Arguments.of(
            builder().variant(new LoraVariant.Bdlora(List.of("q"), List.of("q"), 2, true)),
            "use_bdlora names [q] for A and for B but only one of the two can be block-diagonal;"
                + " take it out of one list"),
        Arguments.of(
            builder().variant(new LoraVariant.Dora()).loraBias(true),
            "use_dora and lora_bias exclude each other; turn one of them off"),
        Arguments.of(
            builder()
                .variant(new LoraVariant.Dora())
                .megatron(new Megatron(JsonNodeFactory.instance.objectNode(), "megatron.core")),
            "use_dora and megatron_config exclude each other; turn one of them off"),
        Arguments.of(
            builder().megatron(new Megatron(JsonNodeFactory.instance.objectNode(), "mega.core")),
            "megatron_core is mega.core but a module of megatron is needed, such as"
                + " megatron.core"),
        Arguments.of(
            builder().init(new LoraInit.Loftq(4, 0)),
            "loftq_iter is 0 but one round or more is needed"),
        Arguments.of(
            builder().init(new LoraInit.Orthogonal()).r(3),
            "r is 3 but init_lora_weights orthogonal halves the rank; give an even one"),
        Arguments.of(
            builder().init(new LoraInit.Mica()).variant(new LoraVariant.Kasa(0, 0)),
            "init_lora_weights mica and kasa_config exclude each other; choose one"),
        Arguments.of(
            builder().init(new LoraInit.Orthogonal()).r(4).variant(new LoraVariant.Qalora()),
            "use_qalora draws its own A, so that no other start can be had with it; set"
                + " init_lora_weights to true, false or gaussian"),
        Arguments.of(
            builder().init(new LoraInit.Pissa()).loraBias(true),
            "lora_bias needs init_lora_weights true or false; other starts know no bias"),
        Arguments.of(
            builder().layerReplication(List.of(List.of(3, 1))),
            "layer_replication has [3, 1] but a range is [start, end) with start before end"));
  }

  @ParameterizedTest
  @MethodSource("wrong")
  void a_broken_rule_is_told_when_the_config_is_made(LoraConfigBuilder config, String message) {
    assertThatThrownBy(config::build).isInstanceOf(ConfigException.class).hasMessage(message);
  }

  @Test
  void all_broken_rules_are_told_at_once() {
    LoraConfigBuilder config = builder().r(-2).dropout(2).qaloraGroupSize(0);

    ConfigException e = catchThrowableOfType(ConfigException.class, config::build);

    assertThat(e.violations())
        .containsExactly(
            "r is -2 but a rank is 1 or more; 8 is the default",
            "lora_dropout is 2.0 but must lie in [0, 1]; 0 turns it off",
            "qalora_group_size is 0 but a group has 1 input or more; 16 is the default");
  }

  @Test
  void a_call_of_no_tokens_is_none_and_one_without_a_language_model_is_told_of() {
    LoraConfigBuilder calling = builder().variant(new LoraVariant.Alora(List.of(5)));

    assertThat(builder().variant(new LoraVariant.Alora(List.of())).build().variant())
        .isEqualTo(new LoraVariant.Plain());
    assertThat(calling.build().warnings(Map.of()))
        .containsExactly(
            "alora_invocation_tokens needs a causal language model but task_type is null");
    assertThat(calling.head(ConfigHead.of(TaskType.CAUSAL_LM)).build().warnings(Map.of()))
        .isEmpty();
  }

  @Test
  void an_expression_leaves_no_room_for_a_choice_of_layers() {
    assertThatThrownBy(() -> Targets.matching(".*q_proj").onLayers(0))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "layers_to_transform needs target_modules as a list of names, not \".*q_proj\"; put the"
                + " layers into the regular expression, or name the modules");
  }

  @Test
  void the_scaling_is_alpha_over_r_or_over_its_root_with_the_values_of_the_path() {
    LoraConfigBuilder config =
        builder()
            .r(4)
            .alpha(8)
            .rankPattern(Map.of("q_proj", 16))
            .alphaPattern(Map.of("v_proj", 2.0));

    assertThat(config.build().scalingAt("a.q_proj")).isEqualTo(0.5);
    assertThat(config.build().scalingAt("a.v_proj")).isEqualTo(0.5);
    assertThat(config.build().scalingAt("a.k_proj")).isEqualTo(2);
    assertThat(config.rslora(true).build().scalingAt("a.q_proj")).isEqualTo(2);
  }
}
