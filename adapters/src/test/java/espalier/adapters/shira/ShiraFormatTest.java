package espalier.adapters.shira;

import static espalier.adapters.Tree.there;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AdapterContents;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.LoadOptions;
import espalier.adapters.LoadResult;
import espalier.adapters.ModelFacts;
import espalier.adapters.NativeScope;
import espalier.adapters.StateMismatchException;
import espalier.adapters.Targets;
import espalier.adapters.Tree;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.nn.Embedding;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.TransposedLinear;
import java.util.HashMap;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

class ShiraFormatTest {

  private static final JsonMapper JSON = new JsonMapper();
  private static final AdapterCatalog CATALOG = AdapterCatalog.standard();
  private static final ShiraConfig CONFIG =
      ShiraConfig.defaults()
          .withR(2)
          .withZeroStart(false)
          .withOptions(MaskOptions.defaults().withCompact(false))
          .withTargets(Targets.named("layer"));
  private static final ShiraConfig UNDECIDED = CONFIG.withOptions(MaskOptions.defaults());
  private static final ShiraConfig COMPACT =
      CONFIG.withOptions(MaskOptions.defaults().withCompact(true));
  private static final String KEY = "base_model.model.layer.";

  private final Tree.Draw draw = new Tree.Draw(4);
  @RegisterExtension final NativeScope scope = NativeScope.open();

  private static ShiraConfig read(String fields) {
    return (ShiraConfig)
        CATALOG
            .read((ObjectNode) JSON.readTree("{\"peft_type\": \"SHIRA\"" + fields + "}"))
            .config();
  }

  private Adapters model() {
    return Adapters.of(
        Tree.empty().with("layer", new Linear(draw.normal(30, 20), null)), ModelFacts.of("llama"));
  }

  private static ShiraLinear shira(Adapters adapters) {
    return (ShiraLinear) there(adapters.on("one").get("layer"));
  }

  private Map<String, Tensor> saved(ShiraConfig config) {
    Adapters adapters = model();
    adapters.attach("one", config, 1);
    return new HashMap<>(adapters.state("one"));
  }

  private static LoadResult load(Adapters adapters, ShiraConfig config, Map<String, Tensor> saved) {
    return adapters.load("one", config, saved, LoadOptions.defaults());
  }

  private void assertRefused(Map<String, Tensor> saved, String message) {
    Adapters adapters = model();
    assertThatThrownBy(() -> load(adapters, CONFIG, saved))
        .isInstanceOf(StateMismatchException.class)
        .hasMessage("layer: " + message);
    assertThat(adapters.names()).isEmpty();
  }

  // ---- the config

  @Test
  void it_writes_exactly_the_fields_of_the_reference() {
    assertThat(CATALOG.write(ShiraConfig.defaults()))
        .isEqualTo(
            JSON.readTree(
                """
                {"auto_mapping": null, "base_model_name_or_path": null, "fan_in_fan_out": false,
                 "inference_mode": true, "init_weights": true, "mask_type": "random",
                 "modules_to_save": null, "peft_type": "SHIRA", "peft_version": "0.21.2", "r": 32,
                 "random_seed": null, "revision": null, "target_modules": null, "task_type": null}
                """));
  }

  @Test
  void every_field_survives_the_way_to_the_file_and_back() {
    ShiraConfig config =
        CONFIG
            .withMask(ShiraMask.Known.STRUCT)
            .withRandomSeed(-123456789012345L)
            .withOptions(new MaskOptions(3, true, 5, true, true))
            .withTargets(Targets.named("q_proj").except("x").onLayers(0).saving("head"));

    ShiraConfig read = (ShiraConfig) CATALOG.read(CATALOG.write(config)).config();

    assertThat(read).isEqualTo(config.withHead(config.head().withInferenceMode(true)));
  }

  @Test
  void a_mask_of_the_user_s_own_is_a_word_in_the_file() {
    ShiraConfig config = CONFIG.withMask("mine", (layer, _) -> layer.weight());

    ShiraConfig read = (ShiraConfig) CATALOG.read(CATALOG.write(config)).config();

    assertThat(read.mask()).isEqualTo(new ShiraMask.Custom("mine", null));
  }

  @Test
  void wrong_settings_are_refused() {
    assertThatThrownBy(() -> read(", \"r\": 0"))
        .isInstanceOf(ConfigException.class)
        .hasMessage("r is 0 but must be 1 or more; 32 is the method's default");
    assertThatThrownBy(() -> read(", \"random_seed\": 1.5"))
        .hasMessage("random_seed is 1.5 but a whole number of 64 bits or null is expected");
    assertThatThrownBy(() -> read(", \"mask_options\": {\"calibration_batches\": 0}"))
        .hasMessage(
            "mask_options.calibration_batches is 0 but must be 1 or more; 8 is the default");
    assertThatThrownBy(() -> read(", \"mask_options\": {\"frequency\": -1}"))
        .hasMessage("mask_options.frequency is -1 but is a number of lines, 0 or more");
  }

  @Test
  void only_plain_linear_layers_are_adapted() {
    var conv = new TransposedLinear(draw.normal(8, 6), null);
    var embedding = new Embedding(draw.normal(9, 5));

    assertThatThrownBy(() -> CONFIG.create(conv, "h.0.c_attn", Init.blank()))
        .isInstanceOf(UnsupportedAdapterException.class)
        .hasMessage(
            "h.0.c_attn is a Conv1D but SHiRA adapts Linear only; take it out of target_modules, or"
                + " set mask_options.shira_conv1d");
    assertThatThrownBy(() -> CONFIG.create(embedding, "wte", Init.blank()))
        .hasMessage(
            "wte is a Embedding but SHiRA adapts Linear only; take it out of target_modules");
  }

  // ---- the tensors

  @Test
  void the_file_has_rows_and_columns_in_order_and_decides_the_mask() {
    Map<String, Tensor> saved = saved(CONFIG);
    Adapters other = model();

    load(other, CONFIG.withRandomSeed(9L).withMask(ShiraMask.of("mystery")).withR(1), saved);

    Tensor indices = there(saved.get(KEY + "shira_indices"));
    assertThat(indices.scalar_type().intern()).isEqualTo(ScalarType.Short);
    assertThat(indices.shape()).containsExactly(2, 100);
    assertThat(shira(other).indices().equal(indices.to(ScalarType.Int))).isTrue();
    assertThat(shira(other).values().equal(there(saved.get(KEY + "shira_weight")))).isTrue();
  }

  @Test
  void entries_that_are_not_in_order_are_put_in_order_with_their_values() {
    Map<String, Tensor> saved = saved(CONFIG);
    Adapters straight = model();
    load(straight, CONFIG, saved);
    Adapters turned = model();

    saved.replaceAll((_, tensor) -> tensor.flip(-1));
    load(turned, CONFIG, saved);

    assertThat(shira(turned).deltaWeight().equal(shira(straight).deltaWeight())).isTrue();
    assertThat(shira(turned).indices().equal(shira(straight).indices())).isTrue();
  }

  @Test
  void what_a_file_has_is_read_once_and_taken_over_later() {
    Adapters adapters = model();
    adapters.attach("one", CONFIG, 2);
    ShiraLinear shira = shira(adapters);
    Tensor before = shira.deltaWeight();
    Tensor weight = there(saved(CONFIG.withRandomSeed(9L)).get(KEY + "shira_weight"));
    Tensor indices = there(saved(CONFIG.withRandomSeed(9L)).get(KEY + "shira_indices"));
    var given = new HashMap<>(Map.of("shira_weight", weight, "shira_indices", indices));

    Runnable taking = shira.loading(given);

    assertThat(shira.deltaWeight().equal(before)).isTrue();
    given.put("shira_indices", torch.zeros(2, 100)); // nobody looks at it a second time
    taking.run();
    assertThat(shira.indices().equal(indices.to(ScalarType.Int))).isTrue();
    assertThat(shira.values().equal(weight)).isTrue();
  }

  @Test
  void indices_may_be_floating_point_numbers_up_to_where_these_are_exact() {
    Map<String, Tensor> saved = saved(CONFIG);
    Tensor indices = there(saved.get(KEY + "shira_indices"));
    Adapters adapters = model();

    saved.put(KEY + "shira_indices", indices.to(ScalarType.Float));
    load(adapters, CONFIG, saved);

    assertThat(shira(adapters).indices().equal(indices.to(ScalarType.Int))).isTrue();
    saved.put(KEY + "shira_indices", indices.to(ScalarType.Float).add(new Scalar(1 << 25)));
    assertRefused(
        saved,
        "shira_indices are floating-point numbers beyond 2^24, where not every whole number exists;"
            + " save them as int32");
    saved.put(KEY + "shira_indices", indices.to(ScalarType.Float).mul(new Scalar(Double.NaN)));
    assertRefused(
        saved,
        "shira_indices are floating-point numbers beyond 2^24, where not every whole number exists;"
            + " save them as int32");
  }

  @Test
  void entries_outside_of_the_weight_or_twice_are_refused() {
    Map<String, Tensor> saved = saved(CONFIG);
    Tensor indices = there(saved.get(KEY + "shira_indices"));

    Tensor outside = indices.clone();
    outside.select(0, 1).select(0, 4).fill_(new Scalar(20));
    saved.put(KEY + "shira_indices", outside);
    assertRefused(
        saved,
        "shira_indices has the column 20 but there are 20; the file belongs to another model");
    Tensor negative = indices.clone();
    negative.select(0, 0).select(0, 0).fill_(new Scalar(-1));
    saved.put(KEY + "shira_indices", negative);
    assertRefused(
        saved, "shira_indices has the row -1 but there are 30; the file belongs to another model");
    Tensor twice = indices.clone();
    twice.select(1, 7).copy_(indices.select(1, 3));
    saved.put(KEY + "shira_indices", twice);
    assertRefused(
        saved,
        "shira_indices has the entry [%d, %d] twice; each entry has one value"
            .formatted(
                indices.select(0, 0).select(0, 3).item_int(),
                indices.select(0, 1).select(0, 3).item_int()));
  }

  @Test
  void values_and_places_need_each_other() {
    Map<String, Tensor> saved = saved(CONFIG);
    Tensor values = there(saved.get(KEY + "shira_weight"));

    saved.put(KEY + "shira_weight", values.narrow(0, 0, 99));
    assertRefused(
        saved, "the file has 99 values but 100 entries to put them; both come from one file");
    saved.remove(KEY + "shira_weight");
    assertRefused(
        saved,
        "the file has [shira_indices] without the other of shira_weight and shira_indices; values"
            + " mean nothing without the places where they stand");
  }

  @Test
  void a_compact_file_is_smaller_and_holds_the_same() {
    Map<String, Tensor> small = saved(COMPACT);
    Map<String, Tensor> large = saved(CONFIG);
    Adapters fromSmall = model();
    Adapters fromLarge = model();
    Adapters forReference = model();

    load(fromSmall, COMPACT, small);
    load(fromLarge, COMPACT, large);
    load(forReference, CONFIG, small);

    assertThat(small.keySet()).containsExactlyInAnyOrder(KEY + "shira_weight", KEY + "shira_gaps");
    assertThat(bytes(small)).isEqualTo(4 * 100 + 4 + 100);
    assertThat(bytes(large)).isEqualTo(4 * 100 + 2 * 2 * 100);
    assertThat(shira(fromSmall).deltaWeight().equal(shira(fromLarge).deltaWeight())).isTrue();
    assertThat(forReference.state("one").keySet())
        .containsExactlyInAnyOrder(KEY + "shira_weight", KEY + "shira_indices");
    assertThat(
            there(forReference.state("one").get(KEY + "shira_indices"))
                .equal(there(large.get(KEY + "shira_indices"))))
        .isTrue();
  }

  @Test
  void by_itself_a_file_is_compact_only_where_the_reference_draws_the_same_entries() {
    ShiraConfig seeded = UNDECIDED.withRandomSeed(7L);

    assertThat(saved(UNDECIDED)).containsKey(KEY + "shira_gaps");
    assertThat(saved(seeded)).containsKey(KEY + "shira_gaps");
    assertThat(saved(UNDECIDED.withMask(ShiraMask.Known.WEIGHT_MAGNITUDE)))
        .containsKey(KEY + "shira_indices");
    assertThat(saved(seeded.withOptions(MaskOptions.defaults().withPerLayerSeed(true))))
        .containsKey(KEY + "shira_indices");
    Adapters adapters = model();
    adapters.attach("other", CONFIG, 1);
    adapters.add("one", seeded.withR(1).withNonOverlapWith("other"), AttachOptions.seeded(1));
    assertThat(adapters.state("one")).containsKey(KEY + "shira_indices");
  }

  @Test
  void a_compact_file_that_is_loaded_stays_compact_only_if_its_entries_are_the_drawn_ones() {
    Map<String, Tensor> drawn = saved(COMPACT.withRandomSeed(7L));
    Map<String, Tensor> other = saved(COMPACT.withRandomSeed(8L));
    Map<String, Tensor> fewer = saved(COMPACT.withRandomSeed(7L).withR(1));
    Map<String, Tensor> large = saved(CONFIG.withRandomSeed(7L));

    assertThat(again(drawn)).containsKey(KEY + "shira_gaps");
    assertThat(again(other)).containsKey(KEY + "shira_indices");
    assertThat(again(fewer)).containsKey(KEY + "shira_indices");
    assertThat(again(large)).containsKey(KEY + "shira_indices");
  }

  private Map<String, Tensor> again(Map<String, Tensor> saved) {
    Adapters adapters = model();
    load(adapters, UNDECIDED.withRandomSeed(7L), saved);
    return adapters.state("one");
  }

  @Test
  void a_saved_adapter_is_converted_from_one_form_to_the_other_without_its_model() {
    Map<String, Tensor> large = saved(CONFIG);
    Map<String, Tensor> mixed = new HashMap<>(large);
    mixed.replaceAll((_, tensor) -> tensor.flip(-1));
    mixed.put("base_model.model.norm.weight", Tensor.create(1f, 2));

    AdapterContents small = CONFIG.exportedAs("SHIRA_COMPACT", mixed);
    AdapterContents back = small.config().exportedAs("SHIRA", small.tensors());

    assertThat(small.tensors())
        .containsOnlyKeys(KEY + "shira_weight", KEY + "shira_gaps", "base_model.model.norm.weight");
    assertThat(small.config()).isEqualTo(COMPACT);
    assertThat(back.config()).isEqualTo(CONFIG);
    Adapters adapters = model();
    load(adapters, COMPACT, forLayer(small.tensors()));
    assertThat(adapters.state("one").get(KEY + "shira_weight"))
        .matches(values -> values.equal(there(large.get(KEY + "shira_weight"))));
    assertThat(forLayer(back.tensors()).keySet()).isEqualTo(large.keySet());
    large.forEach(
        (key, tensor) -> assertThat(there(back.tensors().get(key)).equal(tensor)).isTrue());
    assertThat(small.config().exportedAs("SHIRA_COMPACT", small.tensors()).tensors())
        .isEqualTo(small.tensors());
    assertThatThrownBy(() -> CONFIG.exportedAs("LORA", large))
        .isInstanceOf(ConfigException.class)
        .hasMessageStartingWith("SHIRA can not be exported as LORA; ");
  }

  private static Map<String, Tensor> forLayer(Map<String, Tensor> tensors) {
    var own = new HashMap<>(tensors);
    own.remove("base_model.model.norm.weight");
    return own;
  }

  @Test
  void gaps_that_mean_nothing_or_leave_the_weight_are_refused() {
    Map<String, Tensor> saved = saved(COMPACT);
    Tensor gaps = there(saved.get(KEY + "shira_gaps"));

    saved.put(KEY + "shira_gaps", gaps.to(ScalarType.Int));
    assertRefused(
        saved,
        "shira_gaps is of type Int and has 104 entries but is made of bytes, four of which say how"
            + " long a row is");
    saved.put(KEY + "shira_gaps", gaps.clone().fill_(new Scalar(0)));
    assertRefused(
        saved,
        "shira_gaps is of type Byte and has 104 entries but is made of bytes, four of which say how"
            + " long a row is");
    Tensor wide = gaps.clone();
    wide.select(0, 1).fill_(new Scalar(1));
    saved.put(KEY + "shira_gaps", wide);
    assertThatThrownBy(() -> load(model(), COMPACT, saved))
        .hasMessageMatching(
            "layer: shira_gaps has the column \\d+ but there are 20; the file belongs to another"
                + " model");
  }

  private static long bytes(Map<String, Tensor> tensors) {
    return tensors.values().stream().mapToLong(t -> t.numel() * t.element_size()).sum();
  }

  @Test
  void gaps_of_any_width_come_back() {
    Tensor positions = Tensor.create(0L, 1, 255, 256, 511, 512, 767, 1023, 5000, 5001, 100_000);

    Tensor bytes = Gaps.of(positions, 70_000);

    assertThat(bytes.scalar_type().intern()).isEqualTo(ScalarType.Byte);
    assertThat(Gaps.positions(bytes).equal(positions)).isTrue();
    assertThat(Gaps.width(bytes)).isEqualTo(70_000);
    assertThat(Gaps.positions(Gaps.of(Tensor.create(300L), 20)).item_long()).isEqualTo(300);
  }

  @Test
  void positions_in_weights_beyond_31_bits_are_exact() {
    long in = 70_000;
    long out = 70_000;
    Tensor positions = Tensor.create(5, 2_147_483_647L, 2_147_483_648L, out * in - 1);
    try (var support = new Support(out, in, positions)) {
      Tensor indices = support.indices();

      assertThat(indices.select(0, 0).equal(Tensor.create(0, 30_678, 30_678, 69_999))).isTrue();
      assertThat(indices.select(0, 1).equal(Tensor.create(5, 23_647, 23_648, 69_999))).isTrue();
      assertThat(support.rowPointers().select(0, 30_679).item_int()).isEqualTo(3);
    }
  }

  @Test
  void row_pointers_count_the_entries_above_each_row() {
    var support = new Support(4, 5, Tensor.create(1L, 3, 10, 19));

    assertThat(support.rowPointers().equal(Tensor.create(0, 2, 2, 3, 4))).isTrue();
    assertThat(support.cuts(2)).containsExactly(0, 2, 4);
    assertThat(support.cuts(3)).containsExactly(0, 3, 4);
    support.close();
  }
}
