package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.createCPUGenerator;
import static org.bytedeco.pytorch.global.torch.empty;

import espalier.adapters.AdapterConfig;
import espalier.adapters.AdapterException;
import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.InitSource;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.Adapter;
import espalier.nn.Linear;
import espalier.nn.Rows;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.Supplier;
import org.bytedeco.pytorch.Generator;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/** Adapters of all methods at once on one layer of one model. */
class TogetherTest {

  private static final Path MODEL = Path.of("../parity/models/llama");
  private static final String LAYER = "model.layers.0.self_attn.q_proj";

  /** A config of each method, and of each variant of LoRA that may stand beside others. */
  private static final Map<String, String> METHODS = methods();

  private static Map<String, String> methods() {
    var methods = new LinkedHashMap<String, String>();
    // first, because its magnitude scales all that stands before it in the list
    methods.put("dora", "'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4, 'use_dora': true");
    methods.put("lora", "'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4");
    methods.put("rslora", "'peft_type': 'LORA', 'r': 4, 'lora_alpha': 4, 'use_rslora': true");
    methods.put("alora", "'peft_type': 'LORA', 'r': 2, 'alora_invocation_tokens': [7, 8]");
    methods.put("velora", "'peft_type': 'LORA', 'r': 2, 'velora_config': {'num_groups': 4}");
    methods.put(
        "monteclora", "'peft_type': 'LORA', 'r': 2, 'monteclora_config': {'num_samples': 2}");
    methods.put(
        "bdlora",
        "'peft_type': 'LORA', 'r': 4, 'use_bdlora': {'target_modules_bd_a': ['q_proj'],"
            + " 'nblocks': 2}");
    methods.put("hira", "'peft_type': 'HIRA', 'r': 2");
    methods.put("bhra", "'peft_type': 'HIRA', 'r': 4, 'hira_blocks': 2");
    methods.put("gralora", "'peft_type': 'GRALORA', 'r': 4, 'gralora_k': 2");
    methods.put("shira", "'peft_type': 'SHIRA', 'r': 2");
    methods.put("abba", "'peft_type': 'ABBA', 'r1': 2, 'r2': 2");
    methods.put("loha", "'peft_type': 'LOHA', 'r': 2");
    methods.put("lokr", "'peft_type': 'LOKR', 'r': 2");
    methods.put("miss", "'peft_type': 'MISS', 'r': 4");
    methods.put("adalora", "'peft_type': 'ADALORA', 'init_r': 2, 'total_step': 9");
    methods.put("hirasb", "'peft_type': 'HIRA_SB', 'r': 4");
    methods.put("whitened", "'peft_type': 'HIRA_SB', 'r': 3, 'precondition': true");
    methods.put("lorasb", "'peft_type': 'HIRA_SB', 'r': 4, 'space': 'additive'");
    methods.put("oft", "'peft_type': 'OFT', 'oft_block_size': 4");
    return methods;
  }

  /** Those whose updates add up; a rotation turns what others see instead. */
  private static List<String> additive() {
    return METHODS.keySet().stream().filter(name -> !name.equals("oft")).toList();
  }

  private final PretrainedModel model = PretrainedModel.load(MODEL, ScalarType.Float);
  private Scope scope = Scope.graph();

  @TempDir Path folder;

  @BeforeEach
  void open() {
    scope.close();
    scope = Scope.graph();
    model.model().train(false);
    model.adapters().allowMixedMethods();
    long seed = 100;
    for (Map.Entry<String, String> method : METHODS.entrySet()) {
      add(method.getKey(), config(method.getValue()), seed++);
    }
  }

  @AfterEach
  void close() {
    scope.close();
    model.close();
  }

  private static AdapterConfig config(String fields) {
    String json = "{%s, 'target_modules': ['%s']}".formatted(fields, LAYER).replace('\'', '"');
    return AdapterCatalog.standard().read((ObjectNode) new JsonMapper().readTree(json)).config();
  }

  /** Adds an adapter as training would have left it: with all of its parameters moved. */
  private void add(String name, AdapterConfig config, long seed) {
    Generator random = createCPUGenerator(seed);
    Tensor gradient = normal(random, layer().weight().shape());
    var init = InitSource.seeded(seed).withPrepared(Map.of(LAYER, Map.of("gradient", gradient)));
    model.adapters().add(name, config, AttachOptions.of(init));
    try (var _ = new NoGradGuard()) {
      for (Tensor p : adapter(model.adapters(), name).parameters().values()) {
        p.add_(normal(random, p.shape()), new Scalar(0.2));
      }
    }
  }

  private static Tensor normal(Generator random, long... shape) {
    return empty(shape).normal_(0, 1, new GeneratorOptional(random));
  }

  private Linear layer() {
    return (Linear) Objects.requireNonNull(model.find(LAYER));
  }

  private static Adapter adapter(Adapters adapters, String name) {
    return Objects.requireNonNull(adapters.on(name).get(LAYER), name);
  }

  private static double gap(Tensor a, Tensor b) {
    return a.sub(b).abs().max().item_double();
  }

  private static Tensor ids(int rows) {
    long[] ids = new long[rows * 6];
    for (int i = 0; i < ids.length; i++) {
      // the tokens that the activated adapter waits for stand in the middle of each row
      ids[i] = i % 6 == 2 ? 7 : i % 6 == 3 ? 8 : 10 + i % 100;
    }
    return Tensor.create(ids, rows, 6);
  }

  private static Tensor logits(PretrainedModel of, Tensor ids) {
    return of.model().logits(ModelInputs.of(ids));
  }

  private Tensor alone(String name, Supplier<Tensor> run) {
    model.adapters().setActive(List.of(name));
    return run.get();
  }

  @Test
  void every_method_of_the_catalog_is_here() {
    var types = new ArrayList<String>();
    METHODS.keySet().forEach(name -> types.add(model.adapters().config(name).peftType()));

    assertThat(types)
        .containsAll(AdapterCatalog.standard().formats().stream().map(f -> f.peftType()).toList());
    assertThat(layer().adapters().all().keySet()).containsExactlyElementsOf(METHODS.keySet());
  }

  @Test
  void active_together_they_give_the_base_and_the_sum_of_their_updates() {
    // one that acts on some tokens only has no update of the weight, so it is left out here
    List<String> names = additive().stream().filter(name -> !name.equals("alora")).toList();
    Tensor x = normal(createCPUGenerator(9), 3, 5, layer().in());
    Tensor expected = layer().base(x);
    for (String name : names) {
      Tensor delta = adapter(model.adapters(), name).deltaWeight();
      assertThat(delta.abs().max().item_double()).as(name).isGreaterThan(0.01);
      Tensor contribution = x.matmul(delta.t());
      Tensor alone = alone(name, () -> layer().forward(x));
      assertThat(gap(alone, layer().base(x).add(contribution))).as(name).isLessThan(1e-4);
      expected = expected.add(contribution);
    }

    model.adapters().setActive(names);
    Tensor together = layer().forward(x);

    // float32: outputs reach 40 and fifteen products are summed in another order
    assertThat(gap(together, expected)).isLessThan(2e-4);
    model.adapters().merge(names, true);
    assertThat(gap(layer().forward(x), expected)).isLessThan(2e-4);
    model.adapters().unmerge();
    assertThat(layer().forward(x).equal(together)).isTrue();
  }

  @Test
  void each_contributes_what_it_contributes_alone() {
    Tensor ids = ids(1);
    List<String> names = additive();
    Tensor base;
    try (var _ = model.adapters().disable()) {
      base = queries(ids);
    }
    Tensor expected = base;
    for (String name : names) {
      expected = expected.add(alone(name, () -> queries(ids)).sub(base));
    }

    model.adapters().setActive(names);

    assertThat(gap(queries(ids), expected)).isLessThan(2e-4);
  }

  /** What the layer gives within a run of the whole model, so that tokens are known. */
  private Tensor queries(Tensor ids) {
    var seen = new ArrayList<Tensor>();
    layer()
        .observe(
            (_, y) -> {
              seen.add(Scope.own(y)); // its block's scope would free it
              return y;
            });
    try {
      Tensor _ = logits(model, ids);
      return seen.getFirst().clone();
    } finally {
      layer().unobserve();
      seen.forEach(Tensor::close);
    }
  }

  @Test
  void each_row_of_one_batch_is_as_if_its_adapter_ran_alone() {
    var rows = new ArrayList<>(METHODS.keySet());
    rows.add(4, Rows.BASE);
    Tensor ids = ids(rows.size());

    Tensor mixed = model.adapters().mixed(rows, rows.size(), () -> logits(model, ids));

    for (int i = 0; i < rows.size(); i++) {
      String name = rows.get(i);
      Tensor row = ids.narrow(0, i, 1);
      Tensor expected;
      if (name.equals(Rows.BASE)) {
        try (var _ = model.adapters().disable()) {
          expected = logits(model, row);
        }
      } else {
        expected = alone(name, () -> logits(model, row));
      }
      assertThat(gap(mixed.narrow(0, i, 1), expected)).as(name).isLessThan(2e-4);
    }
  }

  @Test
  void each_is_saved_in_a_folder_of_its_own_and_loaded_back_beside_the_others() {
    Tensor ids = ids(2);
    for (String name : METHODS.keySet()) {
      model.saveAdapter(name, folder.resolve(name));
    }

    try (var other = PretrainedModel.load(MODEL, ScalarType.Float)) {
      other.adapters().allowMixedMethods();
      for (String name : METHODS.keySet()) {
        other.loadAdapter(name, folder.resolve(name));
      }
      for (String name : METHODS.keySet()) {
        other.adapters().setActive(List.of(name));
        Tensor loaded = logits(other, ids);
        Tensor saved = alone(name, () -> logits(model, ids));
        // R of the whitened one goes through a triangular solve
        assertThat(gap(loaded, saved)).as(name).isLessThan(name.equals("whitened") ? 1e-4 : 1e-6);
      }
      var all = List.copyOf(METHODS.keySet());
      other.adapters().setActive(all);
      model.adapters().setActive(all);
      assertThat(gap(logits(other, ids), logits(model, ids))).isLessThan(2e-4);
    }
  }

  @Test
  void one_that_changes_the_base_for_good_is_refused_beside_them() {
    assertThatThrownBy(
            () -> add("kasa", config("'peft_type': 'LORA', 'r': 2, 'kasa_config': {}"), 1))
        .isInstanceOf(AdapterException.class)
        .hasMessageContaining("kasa_config changes the base for good");
    assertThat(model.adapters().names()).containsExactlyElementsOf(METHODS.keySet());
  }
}
