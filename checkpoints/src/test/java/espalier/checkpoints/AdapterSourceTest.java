package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.checkpoints.AdapterSource.Folder;
import espalier.checkpoints.AdapterSource.Hub;
import espalier.checkpoints.AdapterSource.Pip;
import espalier.checkpoints.FakeHub.Answer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class AdapterSourceTest {

  private static final Path LORA =
      Path.of("..", "parity", "cases", "lora_default_llama", "adapter");

  @TempDir Path home;
  private final FakeHub hub = new FakeHub();
  private final List<String> progress = new ArrayList<>();

  @BeforeEach
  void put_two_adapters_on_the_hub() throws IOException {
    put("");
    put("deep/french/");
    hub.put("README.md", "# adapters");
    hub.put("deep/french/training_args.bin", "pickle");
    hub.put("deep/french/tokenizer.json", "{}");
    hub.put("deep/other.safetensors", "other");
  }

  private void put(String prefix) throws IOException {
    for (String name : List.of(AdapterFiles.CONFIG, AdapterFiles.TENSORS)) {
      hub.files.put(prefix + name, Files.readAllBytes(LORA.resolve(name)));
    }
  }

  @AfterEach
  void stop_the_hub() {
    hub.close();
  }

  private Path resolved(String name, String... environment) {
    return AdapterSource.parse(name).resolve(hub.environment(home, environment), progress::add);
  }

  private void refused(String name, String message, String... environment) {
    assertThatThrownBy(() -> resolved(name, environment))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(message);
  }

  private Path cache() {
    return home.resolve("hub");
  }

  private Path snapshot() {
    return cache().resolve("models--org--name/snapshots").resolve(FakeHub.COMMIT);
  }

  @Test
  void each_way_to_name_an_adapter_is_understood() {
    assertThat(AdapterSource.parse("runs/law")).isEqualTo(new Folder(Path.of("runs/law")));
    assertThat(AdapterSource.parse("hub:org/name")).isEqualTo(new Hub("org/name", null, null));
    assertThat(AdapterSource.parse("hub:org/name/a/b@refs/pr/1"))
        .isEqualTo(new Hub("org/name", "a/b", "refs/pr/1"));
    assertThat(AdapterSource.parse("pip:a==1/b/c"))
        .isEqualTo(new Pip(new ModelSource.Pip("a==1", "b/c")));
  }

  @ParameterizedTest
  @ValueSource(strings = {"hub:org/name", "hub:org/name/sub/folder@v1", "pip:a==1/b", "x", "a/b"})
  void a_source_prints_as_it_was_written(String name) {
    assertThat(AdapterSource.parse(name)).hasToString(name);
  }

  @ParameterizedTest
  @CsvSource({
    "runs/law.v2,law_v2",
    "hub:org/poems,poems",
    "hub:org/name/a/french@v1,french",
    "pip:a==1/b/c,c",
    "/,default"
  })
  void an_adapter_without_a_name_is_called_as_its_folder_without_dots(String source, String name) {
    assertThat(AdapterSource.parse(source).name()).isEqualTo(name);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          `` | the adapter's name is empty; write a folder, hub:org/name[/sub/folder][@revision] or pip:package==version/path
          hf:org/name | 'hf:org/name' begins with hf: but the hub's adapters are hub:org/name[/sub/folder][@revision]
          hub:name | 'hub:name' is not the name of an adapter in a repository; write hub:org/name[/sub/folder][@revision]
          hub:org/name@ | 'hub:org/name@' is not the name of an adapter in a repository; write hub:org/name[/sub/folder][@revision]
          hub:../x | '../x' is not the name of a repository; write hub:org/name, such as hub:HuggingFaceTB/SmolLM2-135M-Instruct
          hub:org/name/../x | '../x' is no folder in org/name; write hub:org/name/sub/folder
          hub:a/b@../x | '../x' is no revision of a/b; write a branch, a tag or a commit after the @
          """)
  void a_name_that_cannot_be_understood_is_refused_with_the_right_form(
      String name, String message) {
    assertThatThrownBy(() -> AdapterSource.parse(name))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(message);
  }

  @Test
  void a_repository_is_fetched_and_its_large_file_comes_by_a_redirect() throws IOException {
    Path folder = resolved("hub:org/name");

    assertThat(folder).isEqualTo(snapshot());
    assertThat(folder.resolve(AdapterFiles.TENSORS))
        .hasSameBinaryContentAs(LORA.resolve(AdapterFiles.TENSORS));
    assertThat(hub.count("cdn GET /adapter_model.safetensors")).isEqualTo(1);
    assertThat(hub.requests).noneMatch(request -> request.path().contains("deep"));
  }

  @Test
  void of_a_subfolder_only_what_belongs_to_the_adapter_is_fetched() throws IOException {
    Path folder = resolved("hub:org/name/deep/french");

    assertThat(folder).isEqualTo(snapshot().resolve("deep/french"));
    try (Stream<Path> files = Files.list(folder)) {
      assertThat(files.map(file -> file.getFileName().toString()))
          .containsExactlyInAnyOrder(AdapterFiles.CONFIG, AdapterFiles.TENSORS, "tokenizer.json");
    }
    assertThat(snapshot().resolve(AdapterFiles.CONFIG)).doesNotExist();
  }

  @Test
  void first_values_beside_an_adapter_are_fetched_with_it() throws IOException {
    hub.files.put(
        "deep/french/initial/adapter_model.safetensors",
        Files.readAllBytes(LORA.resolve(AdapterFiles.TENSORS)));

    Path folder = resolved("hub:org/name/deep/french");

    assertThat(folder.resolve("initial/adapter_model.safetensors")).isNotEmptyFile();
  }

  @Test
  void a_revision_is_asked_for_and_remembered() {
    resolved("hub:org/name/deep/french@v2");

    assertThat(hub.requests.getFirst().path()).isEqualTo("/api/models/org/name/revision/v2");
    assertThat(cache().resolve("models--org--name/refs/v2")).hasContent(FakeHub.COMMIT);
    assertThat(cache().resolve("models--org--name/refs/main")).doesNotExist();
  }

  @Test
  void offline_what_is_in_the_cache_is_found_and_nothing_is_asked() {
    Path folder = resolved("hub:org/name/deep/french");
    hub.requests.clear();

    assertThat(resolved("hub:org/name/deep/french", "HF_HUB_OFFLINE", "1")).isEqualTo(folder);
    assertThat(hub.requests).isEmpty();
  }

  @Test
  void offline_what_is_not_in_the_cache_is_refused() {
    resolved("hub:org/name/deep/french");

    refused(
        "hub:org/name",
        ("hub:org/name is not whole in the cache %s, and HF_HUB_OFFLINE forbids to fetch it; unset"
                + " that, or copy the cache from a machine that has it")
            .formatted(cache()),
        "HF_HUB_OFFLINE",
        "1");
  }

  @Test
  void a_plain_name_is_looked_up_in_the_cache_and_never_asked_of_the_network() {
    Path folder = resolved("hub:org/name/deep/french@v2");
    hub.requests.clear();

    assertThat(resolved("org/name/deep/french@v2")).isEqualTo(folder);
    refused(
        "org/name",
        ("org/name: there is no such folder, and the hub's cache %s has no adapter of that name;"
                + " check the path, or fetch it from the hub as hub:org/name")
            .formatted(cache()));
    assertThat(hub.requests).isEmpty();
  }

  @Test
  void a_folder_of_this_machine_goes_before_the_hub_s() {
    assertThat(resolved(LORA.toString())).isEqualTo(LORA);
    assertThat(hub.requests).isEmpty();
  }

  @Test
  void what_is_no_folder_is_refused() throws IOException {
    Path file = Files.createFile(home.resolve("adapter_model.safetensors"));
    Path missing = home.resolve("missing");

    refused(
        file.toString(),
        file + ": this is a file, and an adapter is a folder; name the folder it lies in");
    refused(
        missing.toString(),
        missing
            + ": there is no such folder; check the path, or name one of the hub as"
            + " hub:org/name[/sub/folder][@revision]");
  }

  @Test
  void a_repository_that_is_not_there_is_told() {
    hub.first.put(
        "/revision/main",
        new ArrayDeque<>(List.of(new Answer(404, Map.of("X-Error-Code", "RepoNotFound")))));

    refused(
        "hub:org/name/deep/french",
        ("hub:org/name: %s answers 404 for the revision main: there is no such repository or"
                + " revision; check the name")
            .formatted(hub.endpoint()));
  }

  @Test
  void a_folder_without_an_adapter_names_those_that_have_one() {
    refused(
        "hub:org/name/deep",
        "hub:org/name/deep: the repository has no adapter_config.json in deep, so it is no adapter;"
            + " there are adapters in deep/french, the top folder; name one of these");

    hub.files.keySet().removeIf(name -> name.endsWith(AdapterFiles.CONFIG));
    refused(
        "hub:org/name",
        "hub:org/name: the repository has no adapter_config.json in its top folder, so it is no"
            + " adapter; name another repository or revision");
  }

  @Test
  void a_pickle_is_refused_with_the_way_to_convert_it_and_not_fetched() {
    hub.files.put(
        "deep/french/adapter_model.bin", hub.files.remove("deep/french/" + AdapterFiles.TENSORS));

    assertThatThrownBy(() -> resolved("hub:org/name/deep/french"))
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(
            "hub:org/name/deep/french: the weights are a pickle (adapter_model.bin), and loading a"
                + " pickle can run any code");
    assertThat(hub.requests).noneMatch(request -> request.path().endsWith(".bin"));
  }

  @Test
  void an_adapter_without_tensors_is_refused() {
    hub.files.remove(AdapterFiles.TENSORS);

    refused(
        "hub:org/name",
        "hub:org/name: the repository has no adapter_model.safetensors, so there are no tensors to"
            + " read; name another revision");
  }
}
