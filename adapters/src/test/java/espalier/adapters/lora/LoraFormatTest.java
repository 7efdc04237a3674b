package espalier.adapters.lora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowableOfType;

import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigException;
import espalier.adapters.ConfigFields;
import espalier.adapters.ConfigHead;
import espalier.adapters.OneOrMany;
import espalier.adapters.Targets;
import espalier.adapters.TaskType;
import espalier.adapters.TokenRows;
import espalier.adapters.catalog.AdapterCatalog;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

class LoraFormatTest {

  private static final JsonMapper JSON = new JsonMapper();
  private static final AdapterCatalog CATALOG = AdapterCatalog.standard();

  private static LoraConfig read(String fields) {
    return (LoraConfig) readAll(fields).config();
  }

  private static AdapterCatalog.Read readAll(String fields) {
    return CATALOG.read((ObjectNode) JSON.readTree("{\"peft_type\": \"LORA\"" + fields + "}"));
  }

  @Test
  void it_writes_exactly_the_fields_of_the_reference() {
    ObjectNode written = CATALOG.write(LoraConfig.defaults());

    assertThat(written)
        .isEqualTo(
            JSON.readTree(
                """
                {"alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null,
                 "auto_mapping": null, "base_model_name_or_path": null, "bias": "none",
                 "corda_config": null, "ensure_weight_tying": false, "eva_config": null,
                 "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
                 "init_lora_weights": true, "kasa_config": null, "layer_replication": null,
                 "layers_pattern": null, "layers_to_transform": null, "loftq_config": {},
                 "lora_alpha": 8, "lora_bias": false, "lora_dropout": 0.0, "lora_ga_config": null,
                 "megatron_config": null, "megatron_core": "megatron.core",
                 "modules_to_save": null, "monteclora_config": null, "peft_type": "LORA",
                 "peft_version": "0.21.2", "qalora_group_size": 16, "r": 8, "rank_pattern": {},
                 "revision": null, "target_modules": null, "target_parameters": null,
                 "task_type": null, "trainable_token_indices": null, "use_bdlora": null,
                 "use_dora": false, "use_qalora": false, "use_rslora": false,
                 "velora_config": null}
                """));
  }

  static Stream<LoraConfig> configs() {
    LoraConfigBuilder[] all = {
      LoraConfig.builder().r(16).alpha(32.5).dropout(0.1).rslora(true),
      LoraConfig.builder()
          .head(
              ConfigHead.of(TaskType.CAUSAL_LM)
                  .withBaseModel("base")
                  .withRevision("main")
                  .withInferenceMode(true))
          .targets(
              Targets.named("q_proj", "v_proj")
                  .except("gate")
                  .withLayers(OneOrMany.one(3), OneOrMany.one("layers"))
                  .withParameters(List.of("experts.w"))
                  .saving("lm_head")
                  .withFanInFanOut(true)),
      LoraConfig.builder().targets(Targets.matching(".*q")),
      LoraConfig.builder().rankPattern(Map.of("a", 4)).alphaPattern(Map.of("b", 2.0)),
      LoraConfig.builder().bias(BiasTraining.ADAPTED).loraBias(true),
      LoraConfig.builder().bias(BiasTraining.ALL),
      LoraConfig.builder().tokens(new TokenRows.OfInput(List.of(1, 2))),
      LoraConfig.builder().tokens(new TokenRows.OfLayers(Map.of("wte", List.of(7)))),
      LoraConfig.builder().layerReplication(List.of(List.of(0, 4), List.of(2, 5))),
      LoraConfig.builder().ensureWeightTying(true).qaloraGroupSize(32),
      LoraConfig.builder().megatron(new Megatron(JSON.readTree("{\"a\": [1]}"), "megatron.own")),
      LoraConfig.builder().init(new LoraInit.Unset()),
      LoraConfig.builder().init(new LoraInit.Gaussian()),
      LoraConfig.builder().init(new LoraInit.Orthogonal()),
      LoraConfig.builder().init(new LoraInit.Pissa()),
      LoraConfig.builder().init(new LoraInit.FastPissa(4)),
      LoraConfig.builder().init(new LoraInit.Olora()),
      LoraConfig.builder().init(new LoraInit.Mica()),
      LoraConfig.builder().init(new LoraInit.Corda("c", null, true, true, true, false)),
      LoraConfig.builder().init(new LoraInit.Eva(3, 0.5, false, -1, true, false)),
      LoraConfig.builder().init(new LoraInit.Loftq(8, 3)),
      LoraConfig.builder()
          .init(new LoraInit.LoraGa(LoraInit.Direction.A2R_BR, LoraInit.Scale.UNIT, 8)),
      LoraConfig.builder().variant(new LoraVariant.Dora()),
      LoraConfig.builder().variant(new LoraVariant.Qalora()),
      LoraConfig.builder().task(TaskType.CAUSAL_LM).variant(new LoraVariant.Alora(List.of(5, 6))),
      LoraConfig.builder().variant(new LoraVariant.Velora(4, 0.5, "random")),
      LoraConfig.builder().variant(new LoraVariant.Monteclora(2, true, 0.2, 1e-3, 1e-4, 7)),
      LoraConfig.builder().variant(new LoraVariant.Bdlora(List.of("q"), null, 2, false)),
      LoraConfig.builder()
          .variant(new LoraVariant.Arrow(2, 0.5, true, 9, List.of("a"), List.of("b"))),
      LoraConfig.builder().variant(new LoraVariant.Kasa(0.5, 0.25)),
    };
    return Stream.of(all).map(LoraConfigBuilder::build);
  }

  @ParameterizedTest
  @MethodSource("configs")
  void every_field_survives_the_way_to_the_file_and_back(LoraConfig config) {
    ObjectNode written = CATALOG.write(config);

    AdapterCatalog.Read read = CATALOG.read(written);

    assertThat(read.warnings()).isEmpty();
    // a file always says that it is for use only
    assertThat(read.config()).isEqualTo(config.withHead(config.head().withInferenceMode(true)));
    assertThat(CATALOG.write(read.config())).isEqualTo(written);
  }

  @ParameterizedTest
  @CsvSource({
    "OLORA, olora",
    "Mica, mica",
    "GAUSSIAN, gaussian",
    "pissa_niter_16, pissa_niter_16",
    "corda, corda",
    "lora_ga, lora_ga"
  })
  void the_words_of_init_lora_weights_are_known(String word, String written) {
    LoraConfig config = read(", \"init_lora_weights\": \"" + word + "\"");

    assertThat(CATALOG.write(config).get("init_lora_weights").stringValue()).isEqualTo(written);
  }

  @Test
  void an_unknown_start_is_refused_with_those_that_are_known() {
    assertThatThrownBy(() -> read(", \"init_lora_weights\": \"magic\""))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "init_lora_weights is magic but true, false, gaussian, orthogonal, pissa,"
                + " pissa_niter_N, olora, corda, eva, loftq, lora_ga and mica are known");
    assertThatThrownBy(() -> read(", \"init_lora_weights\": \"pissa_niter_x\""))
        .hasMessage(
            "init_lora_weights is pissa_niter_x but pissa_niter_ ends with a whole number, such as"
                + " 16");
  }

  static Stream<Arguments> pairsOfVariants() {
    Map<String, String> fields =
        new TreeMap<>(
            Map.of(
                "use_dora", "\"use_dora\": true",
                "alora_invocation_tokens", "\"alora_invocation_tokens\": [5]",
                "velora_config", "\"velora_config\": {}",
                "monteclora_config", "\"monteclora_config\": {}",
                "use_bdlora", "\"use_bdlora\": {\"target_modules_bd_b\": [\"q\"]}",
                "arrow_config", "\"arrow_config\": {}",
                "kasa_config", "\"kasa_config\": {}",
                "mica", "\"init_lora_weights\": \"mica\""));
    return fields.keySet().stream()
        .flatMap(
            one ->
                fields.keySet().stream()
                    .filter(other -> one.compareTo(other) < 0)
                    .map(
                        other ->
                            Arguments.of(one, other, fields.get(one) + ", " + fields.get(other))));
  }

  @ParameterizedTest
  @MethodSource("pairsOfVariants")
  void two_variants_at_once_are_refused_by_name(String one, String other, String fields) {
    assertThatThrownBy(() -> read(", \"task_type\": \"CAUSAL_LM\", " + fields))
        .isInstanceOf(ConfigException.class)
        .hasMessageContaining(one)
        .hasMessageContaining(other)
        .hasMessageContaining(" exclude each other; choose one");
  }

  static Stream<Arguments> unknownWords() {
    return Stream.of(
        Arguments.of("\"bias\": \"some\"", "bias is some but none, all and lora_only are known"),
        Arguments.of(
            "\"init_lora_weights\": \"corda\", \"corda_config\": {\"corda_method\": \"xpm\"}",
            "corda_config.corda_method is xpm but ipm and kpm are known"),
        Arguments.of(
            "\"init_lora_weights\": \"lora_ga\", \"lora_ga_config\": {\"direction\": \"up\"}",
            "lora_ga_config.direction is up but [ArBr, A2rBr, ArB2r, random] are known"),
        Arguments.of(
            "\"init_lora_weights\": \"lora_ga\", \"lora_ga_config\": {\"scale\": \"big\"}",
            "lora_ga_config.scale is big but [stable, weight_svd, gd_scale, unit] are known"));
  }

  @ParameterizedTest
  @MethodSource("unknownWords")
  void an_unknown_word_is_refused_with_those_that_are_known(String field, String message) {
    assertThatThrownBy(() -> read(", " + field))
        .isInstanceOf(ConfigException.class)
        .hasMessage(message);
  }

  @Test
  void settings_of_loftq_without_loftq_are_cleared_and_told() {
    AdapterCatalog.Read read = readAll(", \"loftq_config\": {\"loftq_bits\": 8}");

    assertThat(read.warnings())
        .contains("loftq_config counts with init_lora_weights loftq only and is cleared");
    assertThat(CATALOG.write(read.config()).get("loftq_config")).isEqualTo(JSON.readTree("{}"));
  }

  @Test
  void an_empty_call_is_none_and_a_call_for_another_task_is_told_of() {
    assertThat(read(", \"alora_invocation_tokens\": []").variant())
        .isEqualTo(new LoraVariant.Plain());
    assertThat(readAll(", \"alora_invocation_tokens\": [5], \"task_type\": \"SEQ_CLS\"").warnings())
        .containsExactly(
            "alora_invocation_tokens needs a causal language model but task_type is SEQ_CLS");
  }

  @Test
  void all_that_is_wrong_in_a_file_is_told_at_once() {
    ConfigException e =
        catchThrowableOfType(
            ConfigException.class,
            () ->
                read(
                    """
                    , "r": 0, "lora_alpha": "much", "lora_dropout": 3, "bias": "some",
                      "init_lora_weights": "magic", "use_dora": true, "kasa_config": {},
                      "task_type": "POETRY", "target_modules": ".*", "layers_to_transform": 1
                    """));

    assertThat(e.violations())
        .containsExactly(
            "task_type is POETRY but one of [SEQ_CLS, SEQ_2_SEQ_LM, CAUSAL_LM, TOKEN_CLS,"
                + " QUESTION_ANS, FEATURE_EXTRACTION] is expected",
            "layers_to_transform needs target_modules as a list of names, not \".*\"; put the"
                + " layers into the regular expression, or name the modules",
            "lora_alpha is \"much\" but a number is expected",
            "init_lora_weights is magic but true, false, gaussian, orthogonal, pissa,"
                + " pissa_niter_N, olora, corda, eva, loftq, lora_ga and mica are known",
            "use_dora and kasa_config exclude each other; choose one",
            "bias is some but none, all and lora_only are known",
            "r is 0 but a rank is 1 or more; 8 is the default",
            "lora_dropout is 3.0 but must lie in [0, 1]; 0 turns it off");
  }

  @Test
  void an_alpha_with_a_fraction_is_kept() {
    LoraConfig config = read(", \"lora_alpha\": 13.5, \"alpha_pattern\": {\"q\": 2.25}");

    assertThat(config.alpha()).isEqualTo(13.5);
    assertThat(CATALOG.write(config).get("alpha_pattern"))
        .isEqualTo(JSON.readTree("{\"q\": 2.25}"));
  }

  @Test
  void target_parameters_must_be_a_list() {
    assertThatThrownBy(() -> read(", \"target_parameters\": \"experts.w\""))
        .hasMessage("target_parameters is \"experts.w\" but a list of texts is expected");
  }

  @Test
  void loftq_needs_its_settings() {
    assertThatThrownBy(() -> read(", \"init_lora_weights\": \"loftq\", \"loftq_config\": {}"))
        .hasMessage("init_lora_weights is loftq without loftq_config; give {\"loftq_bits\": 4}");
  }

  @Test
  void settings_that_have_no_effect_are_told_and_written_back() {
    AdapterCatalog.Read read = readAll(", \"corda_config\": {\"corda_method\": \"kpm\"}");

    assertThat(read.warnings())
        .containsExactly(
            "corda_config does not belong to this init_lora_weights and has no effect");
    assertThat(CATALOG.write(read.config()).get("corda_config"))
        .isEqualTo(JSON.readTree("{\"corda_method\": \"kpm\"}"));
  }

  @Test
  void settings_of_another_start_are_dropped_when_the_start_is_changed() {
    LoraConfig read = read(", \"eva_config\": {\"rho\": 3.5}, \"from_the_future\": 1");
    var eva = LoraInit.Eva.defaults();

    var fields = CATALOG.write(read.toBuilder().init(eva).build());

    assertThat(fields.get("eva_config").get("rho").asDouble()).isEqualTo(eva.rho());
    assertThat(fields.get("from_the_future").asInt()).isOne();
  }

  @ParameterizedTest
  @ValueSource(strings = {"3", "[[0, 2], 3]", "[[0, \"2\"]]", "[[0, 1.5]]", "{\"a\": [0, 2]}"})
  void a_replication_that_is_no_list_of_ranges_is_refused(String value) {
    assertThatThrownBy(() -> read(", \"layer_replication\": " + value))
        .isInstanceOf(ConfigException.class)
        .hasMessage(
            "layer_replication is %s but a list of ranges of layers is expected, such as [[0, 4], [2, 5]]"
                .formatted(JSON.readTree(value)));
  }

  @Test
  void unknown_fields_of_a_nested_object_are_dropped_and_told() {
    AdapterCatalog.Read read = readAll(", \"kasa_config\": {\"beta\": 0.5, \"zeta\": 1}");

    assertThat(read.warnings())
        .containsExactly("kasa_config: the fields [zeta] are not known and are dropped");
  }

  @Test
  void a_start_that_needs_settings_and_has_none_takes_the_defaults_and_tells() {
    AdapterCatalog.Read read = readAll(", \"init_lora_weights\": \"eva\"");

    assertThat(((LoraConfig) read.config()).init()).isEqualTo(LoraInit.Eva.defaults());
    assertThat(read.warnings())
        .containsExactly("init_lora_weights is eva without eva_config; its defaults are used");
  }

  @Test
  void the_settings_of_one_run_are_left_out() {
    AdapterCatalog.Read read = readAll(", \"runtime_config\": {\"ephemeral_gpu_offload\": true}");

    assertThat(read.warnings())
        .containsExactly("runtime_config belongs to one run and is left out");
    assertThat(CATALOG.write(read.config()).has("runtime_config")).isFalse();
  }

  @Test
  void an_old_file_with_few_fields_is_read() {
    LoraConfig config =
        read(
            """
            , "base_model_name_or_path": "gpt2", "bias": "none", "fan_in_fan_out": true,
              "inference_mode": true, "lora_alpha": 32, "lora_dropout": 0.05,
              "r": 16, "target_modules": ["c_attn"], "task_type": "CAUSAL_LM"
            """);

    assertThat(config)
        .isEqualTo(
            LoraConfig.builder()
                .head(
                    ConfigHead.of(TaskType.CAUSAL_LM).withBaseModel("gpt2").withInferenceMode(true))
                .targets(Targets.named("c_attn").withFanInFanOut(true))
                .r(16)
                .alpha(32)
                .dropout(0.05)
                .build());
  }

  @Test
  void reading_leaves_the_given_fields_as_they_are() {
    var given = (ObjectNode) JSON.readTree("{\"r\": 4}");

    assertThat(new LoraFormat().read(ConfigFields.of(given)).r()).isEqualTo(4);

    assertThat(given.toString()).isEqualTo("{\"r\":4}");
  }
}
