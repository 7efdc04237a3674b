package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AdapterContents;
import espalier.adapters.AdapterException;
import espalier.adapters.AttachOptions;
import espalier.adapters.ConfigException;
import espalier.adapters.SaveStart;
import espalier.adapters.TargetException;
import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Adaptable;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class AdapterFilesTest {

  private static final Path PARITY = Path.of("..", "parity");
  private static final String Q = "model.layers.0.self_attn.q_proj";

  @TempDir Path folder;

  private static PretrainedModel model(ScalarType dtype) {
    return PretrainedModel.load(PARITY.resolve("models").resolve("llama"), dtype);
  }

  private static PretrainedModel model() {
    return model(ScalarType.Float);
  }

  private static LoraConfig with(LoraInit init) {
    return LoraConfig.builder().r(2).alpha(2).init(init).targets(Targets.named("q_proj")).build();
  }

  private static Tensor q(PretrainedModel model) {
    return ((Adaptable) Objects.requireNonNull(model.find(Q))).weight();
  }

  private static List<String> files(Path in) throws IOException {
    try (Stream<Path> all = Files.walk(in)) {
      return all.filter(Files::isRegularFile)
          .map(file -> in.relativize(file).toString())
          .sorted()
          .toList();
    }
  }

  // ---- layout

  @Test
  void default_lies_in_the_folder_itself_and_others_below_it() throws IOException {
    try (PretrainedModel model = model()) {
      model.attach("default", with(new LoraInit.Uniform()), 1);
      model.attach("poems", with(new LoraInit.Uniform()), 2);

      AdapterFiles.saveAll(model.adapters(), model.adapters().names(), folder, model.catalog());
    }

    assertThat(files(folder))
        .containsExactly(
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
            "poems/adapter_config.json",
            "poems/adapter_model.safetensors");
  }

  @Test
  void of_patterns_that_match_one_layer_the_first_of_the_file_counts_after_a_round_trip_too()
      throws IOException {
    var ranks = new LinkedHashMap<String, Integer>();
    ranks.put("self_attn.q_proj", 3); // sorted by name it would come second
    ranks.put("q_proj", 5);
    var alphas = new LinkedHashMap<String, Double>();
    alphas.put("layers.0.self_attn.q_proj", 6.0);
    alphas.put(".*", 40.0);
    LoraConfig config =
        with(new LoraInit.Uniform()).toBuilder().rankPattern(ranks).alphaPattern(alphas).build();
    Path again = folder.resolve("again");

    try (PretrainedModel model = model()) {
      model.attach("one", config, 1);
      model.saveAdapter("one", folder.resolve("first"));
    }
    try (PretrainedModel model = model()) {
      model.loadAdapter("one", folder.resolve("first"));
      model.saveAdapter("one", again);

      var layer = (Adaptable) Objects.requireNonNull(model.find(Q));
      var state = Objects.requireNonNull(layer.adapters().find("one")).state();
      assertThat(Objects.requireNonNull(state.get("lora_A.weight")).size(0)).isEqualTo(3);
    }
    assertThat(Files.readString(again.resolve("adapter_config.json")))
        .isEqualTo(Files.readString(folder.resolve("first/adapter_config.json")));
    LoraConfig read =
        (LoraConfig) AdapterFiles.readConfig(again, AdapterCatalog.standard()).config();
    assertThat(List.copyOf(read.rankPattern().entries().keySet()))
        .containsExactly("self_attn.q_proj", "q_proj");
    assertThat(read.rankAt(Q)).isEqualTo(3);
    assertThat(read.scalingAt(Q)).isEqualTo(2);
  }

  @Test
  void an_adapter_that_is_not_there_is_refused_before_anything_is_written() throws IOException {
    try (PretrainedModel model = model()) {
      model.attach("default", with(new LoraInit.Uniform()), 1);

      assertThatThrownBy(
              () ->
                  AdapterFiles.saveAll(
                      model.adapters(), List.of("default", "y", "x"), folder, model.catalog()))
          .isInstanceOf(AdapterException.class)
          .hasMessage("there are no adapters [x, y]; the model has [default]");
    }

    assertThat(files(folder)).isEmpty();
  }

  @Test
  void factors_that_are_empty_are_refused_before_anything_is_written() throws IOException {
    try (var _ = Scope.open()) {
      var contents =
          new AdapterContents(
              with(new LoraInit.Uniform()),
              Map.of("base_model.model.q_proj.lora_A.weight", torch.empty(0, 8)));

      assertThatThrownBy(() -> AdapterFiles.write(contents, folder, AdapterCatalog.standard()))
          .isInstanceOf(CheckpointException.class)
          .hasMessageContaining("q_proj.lora_A.weight")
          .hasMessageContaining("[0, 8]");
      assertThat(files(folder)).isEmpty();
    }
  }

  /** Folders as the reference wrote them. */
  static Stream<Path> foldersOfTheReference() throws IOException {
    try (Stream<Path> cases = Files.list(PARITY.resolve("cases"))) {
      return cases
          .filter(folder -> folder.toString().contains("config_"))
          .map(folder -> folder.resolve("adapter"))
          .filter(Files::exists)
          .toList()
          .stream();
    }
  }

  @ParameterizedTest
  @MethodSource("foldersOfTheReference")
  void a_config_is_written_with_the_lines_of_the_reference(Path theirs) throws IOException {
    AdapterCatalog catalog = AdapterCatalog.standard();
    var config = AdapterFiles.readConfig(theirs, catalog).config();
    var contents = new AdapterContents(config, Map.of());

    AdapterFiles.write(contents, folder, catalog);

    List<String> ours = lines(folder);
    assertThat(fields(ours)).isEqualTo(fields(lines(theirs)));
    assertThat(ours).containsExactlyInAnyOrderElementsOf(lines(theirs)); // it shuffles the targets
  }

  /** Lines without the comma, which the last of a list has not. */
  private static List<String> lines(Path folder) throws IOException {
    return Files.readAllLines(folder.resolve("adapter_config.json")).stream()
        .map(line -> line.replaceAll(",$", ""))
        .toList();
  }

  private static List<String> fields(List<String> lines) {
    return lines.stream().filter(line -> line.matches("  \".*")).toList();
  }

  @Test
  void what_the_reference_has_no_field_for_lies_beside_the_config() throws IOException {
    AdapterCatalog catalog = AdapterCatalog.standard();
    LoraConfig config =
        with(new LoraInit.Uniform()).toBuilder().variant(new LoraVariant.Qalora(false)).build();

    AdapterFiles.write(new AdapterContents(config, Map.of()), folder, catalog);

    assertThat(files(folder))
        .containsExactly(
            "adapter_config.json", "adapter_model.safetensors", "espalier_adapter.json");
    assertThat(Files.readString(folder.resolve("adapter_config.json")))
        .contains("\"use_qalora\": true")
        .doesNotContain("qalora_strict");
    assertThat(((LoraConfig) AdapterFiles.readConfig(folder, catalog).config()).variant())
        .isEqualTo(new LoraVariant.Qalora(false));
    Files.delete(folder.resolve("espalier_adapter.json"));
    assertThat(((LoraConfig) AdapterFiles.readConfig(folder, catalog).config()).variant())
        .isEqualTo(new LoraVariant.Qalora());
  }

  @Test
  void a_config_without_a_method_is_no_config() throws IOException {
    Files.writeString(folder.resolve("adapter_config.json"), "{\"r\": 4, \"later\": true}");

    assertThatThrownBy(() -> AdapterFiles.readConfig(folder, AdapterCatalog.standard()))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("adapter_config.json: peft_type is null but a config names its");
  }

  static Stream<Arguments> brokenConfigs() {
    return Stream.of(
        Arguments.of("'peft_type': 'NONE'", ConfigException.class, "the catalog knows"),
        Arguments.of("'peft_type': 'P_TUNING'", UnsupportedAdapterException.class, "a prompt"),
        Arguments.of("'peft_type': 'LORA', 'r': 0", ConfigException.class, "r is 0"),
        Arguments.of(
            "'peft_type': 'LORA', 'target_modules': ['nowhere']",
            TargetException.class,
            "nowhere"));
  }

  @ParameterizedTest
  @MethodSource("brokenConfigs")
  void an_error_of_a_folder_keeps_its_kind_and_names_the_folder(
      String fields, Class<? extends Exception> kind, String message) throws IOException {
    try (PretrainedModel model = model()) {
      model.attach("default", with(new LoraInit.Uniform()), 1);
      model.saveAdapter("default", folder);
      Files.writeString(
          folder.resolve("adapter_config.json"), "{%s}".formatted(fields.replace('\'', '"')));

      assertThatThrownBy(() -> model.loadAdapter("again", folder))
          .isInstanceOf(kind)
          .hasMessageStartingWith(folder.toString())
          .hasMessageContaining(message);
      assertThat(model.adapters().names()).containsExactly("default");
    }
  }

  @Test
  void a_file_in_the_place_of_the_folder_is_named() throws IOException {
    Path file = Files.writeString(folder.resolve("taken"), "here");
    try (PretrainedModel model = model()) {
      model.attach("default", with(new LoraInit.Uniform()), 1);

      assertThatThrownBy(() -> model.saveAdapter("default", file))
          .isInstanceOf(CheckpointException.class)
          .hasMessageContaining("taken can not be made");
    }

    assertThat(file).hasContent("here");
  }

  // ---- an adapter in the place of another

  private void initial(String text) throws IOException {
    Path initial = Files.createDirectories(folder.resolve(AdapterFiles.INITIAL));
    Files.writeString(initial.resolve(AdapterFiles.TENSORS), text);
  }

  @Test
  void an_adapter_leaves_nothing_of_the_one_whose_place_it_takes_but_other_files_stay()
      throws IOException {
    initial("first values of another adapter");
    Files.writeString(folder.resolve("espalier_adapter.json"), "{}");
    Files.writeString(folder.resolve("notes.txt"), "mine");
    try (PretrainedModel model = model()) {
      model.attach("default", with(new LoraInit.Uniform()), 1);

      model.saveAdapter("default", folder);
    }

    assertThat(files(folder))
        .containsExactly("adapter_config.json", "adapter_model.safetensors", "notes.txt");
    assertThat(folder.resolve(AdapterFiles.INITIAL)).doesNotExist();
  }

  @Test
  void an_adapter_that_can_not_be_written_leaves_the_one_that_is_there() throws IOException {
    try (PretrainedModel model = model()) {
      model.attach("default", with(new LoraInit.Uniform()), 1);
      model.saveAdapter("default", folder);
      byte[] before = Files.readAllBytes(folder.resolve(AdapterFiles.TENSORS));
      Path inTheWay = folder.resolve(AdapterFiles.INITIAL).resolve(AdapterFiles.TENSORS);
      Files.createDirectories(inTheWay.resolve("mine"));
      model.adapters().attach("other", with(new LoraInit.Unset()), AttachOptions.seeded(2));

      assertThatThrownBy(() -> model.saveAdapter("other", folder))
          .isInstanceOf(CheckpointException.class)
          .hasMessage(
              inTheWay
                  + " could not be written: a folder of that name is in the way; move it away");

      assertThat(files(folder)).containsExactly("adapter_config.json", "adapter_model.safetensors");
      assertThat(folder.resolve(AdapterFiles.TENSORS)).hasBinaryContent(before);
      assertThat(folder).isDirectoryNotContaining("glob:**.tmp");
    }
  }

  @Test
  void a_config_that_is_there_but_can_not_be_read_is_not_said_to_be_missing() throws IOException {
    Path config = Files.createDirectories(folder.resolve(AdapterFiles.CONFIG));

    assertThatThrownBy(() -> AdapterFiles.readConfig(folder, AdapterCatalog.standard()))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(config + ": this is a folder, and a file was expected");
  }

  @Test
  void the_tensors_file_says_that_it_is_of_torch_and_has_no_name_of_an_adapter() {
    try (PretrainedModel model = model()) {
      model.attach("q_proj", with(new LoraInit.Uniform()), 1);
      model.saveAdapter("q_proj", folder);
    }

    try (var file = SafetensorsFile.open(folder.resolve(AdapterFiles.TENSORS))) {
      assertThat(file.metadata()).containsEntry("format", "pt");
      assertThat(file.entries().keySet())
          .contains(
              "base_model.model." + Q + ".lora_A.weight",
              "base_model.model." + Q + ".lora_B.weight");
    }
  }

  @Test
  void a_folder_is_an_adapters_if_its_config_is_of_a_known_method() throws IOException {
    AdapterCatalog catalog = AdapterCatalog.standard();
    Path config = folder.resolve(AdapterFiles.CONFIG);

    assertThat(AdapterFiles.isAdapterFolder(folder, catalog)).isFalse();
    Files.writeString(config, "no json");
    assertThat(AdapterFiles.isAdapterFolder(folder, catalog)).isFalse();
    Files.writeString(config, "{\"peft_type\": \"PROMPT_TUNING\"}");
    assertThat(AdapterFiles.isAdapterFolder(folder, catalog)).isFalse();
    Files.writeString(config, "{\"peft_type\": \"LORA\"}");
    assertThat(AdapterFiles.isAdapterFolder(folder, catalog)).isTrue();
  }

  // ---- the base that an adapter needs

  static Stream<LoraInit> needingTheirBase() {
    return Stream.of(
        new LoraInit.Pissa(),
        new LoraInit.FastPissa(1),
        new LoraInit.Olora(),
        new LoraInit.Loftq(4, 1));
  }

  @ParameterizedTest
  @MethodSource("needingTheirBase")
  void a_start_that_takes_something_out_of_the_base_is_refused_on_another_base(LoraInit init) {
    try (PretrainedModel model = model()) {
      model.attach("default", with(init), 1);
      model.saveAdapter("default", folder, SaveStart.AS_TRAINED);
    }

    try (PretrainedModel untouched = model();
        PretrainedModel half = model(ScalarType.BFloat16)) {
      assertThat(untouched.loadAdapter("default", folder).warnings()).isEmpty();
      assertThat(half.loadAdapter("default", folder).missing()).isEmpty();
      Tensor before = q(untouched).clone();

      assertThatThrownBy(() -> untouched.loadAdapter("again", folder))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageStartingWith(
              "the weight of %s is not the one that the adapter of %s was first put on, and 1 more"
                  .formatted(Q, folder))
          .hasMessageContaining("load the base anew");

      assertThat(untouched.adapters().names()).containsExactly("default");
      assertThat(q(untouched).equal(before)).isTrue();
    }
  }

  @Test
  void one_of_another_base_takes_nobodys_place() {
    LoraInit init = new LoraInit.Pissa();
    Path other = folder.resolve("other");
    Path same = folder.resolve("same");
    try (PretrainedModel model = model();
        PretrainedModel changed = model();
        var _ = Scope.open()) {
      Adaptable layer = (Adaptable) Objects.requireNonNull(changed.find(Q));
      layer.rebase(layer.weight().mul(new Scalar(1.5)));
      changed.attach("default", with(init), 1);
      changed.saveAdapter("default", other, SaveStart.AS_TRAINED);
      model.attach("default", with(init), 1);
      model.saveAdapter("default", same, SaveStart.AS_TRAINED);
      Tensor before = lora(model).clone();

      assertThatThrownBy(() -> model.swapAdapter("default", other))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageStartingWith(
              "the weight of %s is not the one that the adapter of %s was first put on"
                  .formatted(Q, other));
      assertThat(lora(model).equal(before)).isTrue();
      assertThatThrownBy(
              () ->
                  AdapterFiles.requireBaseOf(
                      model.adapters(), "default", other, model.adapters().config("default")))
          .isInstanceOf(IllegalStateException.class);

      assertThat(model.swapAdapter("default", same).missing()).isEmpty();
    }
  }

  private static Tensor lora(PretrainedModel model) {
    return Objects.requireNonNull(
        model.adapters().state("default").get("base_model.model." + Q + ".lora_A.weight"));
  }

  @Test
  void a_merged_adapter_of_another_start_does_not_count_as_another_base() {
    try (PretrainedModel model = model()) {
      model.attach("default", with(new LoraInit.Pissa()), 1);
      model.saveAdapter("default", folder);
    }

    try (PretrainedModel model = model()) {
      model.attach("plain", with(new LoraInit.Unset()), 1);
      model.adapters().merge(true);

      assertThatThrownBy(() -> model.loadAdapter("default", folder))
          .isInstanceOf(IllegalStateException.class)
          .hasMessageContaining("unmerge first");
      model.adapters().unmerge();
      assertThat(model.loadAdapter("default", folder).missing()).isEmpty();
    }
  }

  @Test
  void what_is_known_of_the_base_only_adds_a_check() throws IOException {
    try (PretrainedModel model = model()) {
      model.attach("default", with(new LoraInit.Pissa()), 1);
      model.saveAdapter("default", folder);
    }
    Path sketches = folder.resolve("espalier_adapter.json");

    try (PretrainedModel model = model()) {
      model.attach("other", with(new LoraInit.Pissa()), 1);
      Files.writeString(sketches, "{");
      assertThatThrownBy(() -> model.loadAdapter("default", folder))
          .isInstanceOf(CheckpointException.class)
          .hasMessageContaining("without the file the adapter loads unchecked");
      Files.delete(sketches);

      assertThat(model.loadAdapter("default", folder).warnings())
          .anyMatch(w -> w.startsWith("the base is not the one that both adapters"));
    }
  }

  @Test
  void an_adapter_that_loads_on_any_base_leaves_no_sketch_behind() throws IOException {
    try (PretrainedModel model = model()) {
      model.attach("default", with(new LoraInit.Pissa()), 1);
      model.saveAdapter("default", folder, SaveStart.AS_TRAINED);
      assertThat(files(folder)).contains("espalier_adapter.json");

      model.saveAdapter("default", folder, SaveStart.PLAIN);
    }

    assertThat(files(folder)).containsExactly("adapter_config.json", "adapter_model.safetensors");
  }

  @Test
  void kasa_goes_on_a_base_that_was_cut_already() {
    LoraConfig kasa =
        with(new LoraInit.Uniform()).toBuilder().variant(new LoraVariant.Kasa(0, 0)).build();
    try (PretrainedModel model = model()) {
      model.attach("default", kasa, 1);
      model.saveAdapter("default", folder);

      assertThat(model.loadAdapter("again", folder).missing()).isEmpty();
    }
  }
}
