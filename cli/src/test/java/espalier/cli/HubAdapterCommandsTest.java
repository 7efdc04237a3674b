package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.AdapterFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every command that reads an adapter, on one that lies in a subfolder of the hub's cache. */
class HubAdapterCommandsTest {

  private static final Path LORA = Path.of("../parity/cases/lora_default_llama/adapter");
  private static final String NAME = "org/adapters/deep/french";
  private static final String COMMIT = "0123456789abcdef0123456789abcdef01234567";

  @TempDir Path folder;

  /** Runs command lines, one an argument, words parted by spaces; in a process for its cache. */
  static final class Commands {
    private Commands() {}

    public static void main(String[] lines) {
      for (String line : lines) {
        CommandRun run = CommandRun.of(line.split(" "));
        System.out.println(
            line + " -> " + run.exitCode() + " " + run.err().strip().replace("\n", " / "));
      }
    }
  }

  private void fillTheCache() throws IOException {
    Path repository = folder.resolve("cache/models--org--adapters");
    Path snapshot = repository.resolve("snapshots").resolve(COMMIT).resolve("deep/french");
    Files.createDirectories(snapshot);
    for (String name : List.of(AdapterFiles.CONFIG, AdapterFiles.TENSORS)) {
      Files.copy(LORA.resolve(name), snapshot.resolve(name));
    }
    Files.createDirectories(repository.resolve("refs"));
    Files.writeString(repository.resolve("refs/main"), COMMIT);
    Files.writeString(repository.resolve("refs/v2"), COMMIT);
  }

  private List<String> run(List<String> lines) throws IOException, InterruptedException {
    List<String> command = ChildJvm.command(Commands.class, lines);
    Path log = folder.resolve("commands.log");
    var process = new ProcessBuilder(command).redirectOutput(log.toFile());
    process.environment().put("HF_HUB_CACHE", folder.resolve("cache").toString());
    process.environment().put("HF_HUB_OFFLINE", "1");
    assertThat(process.start().waitFor()).isZero();
    return Files.readAllLines(log);
  }

  @Test
  void an_adapter_of_the_hub_is_read_wherever_a_folder_is() throws Exception {
    fillTheCache();
    Recipes recipes = Recipes.in(folder);
    String model = " -m " + recipes.model();
    String recipe = recipes.write("goes-on", "{from: \"hub:" + NAME + "\"}");

    List<String> log =
        run(
            List.of(
                "merge -a hub:" + NAME + "@v2 -o " + recipes.at("hub") + model,
                "merge -a " + NAME + " -o " + recipes.at("plain") + model,
                "merge -a " + LORA + " -o " + recipes.at("local") + model,
                "combine -a hub:" + NAME + ":0.5 -a b=" + NAME + " -o " + recipes.at("combined"),
                "convert hub:" + NAME + " --rank 2 -o " + recipes.at("converted") + model,
                "inspect hub:" + NAME,
                "inspect " + NAME + model,
                "eval -a french=hub:" + NAME + " -d " + recipes.rows() + model,
                "generate --raw --max-new-tokens 2 -p a -a " + NAME + model,
                "inspect -r " + recipe,
                "train " + recipe));

    assertThat(log).allMatch(line -> line.contains(" -> 0") && !line.contains("error:"));
    Path merged = folder.resolve("local/model.safetensors");
    assertThat(folder.resolve("hub/model.safetensors")).hasSameBinaryContentAs(merged);
    assertThat(folder.resolve("plain/model.safetensors")).hasSameBinaryContentAs(merged);
    assertThat(folder.resolve("goes-on/adapter_model.safetensors")).isNotEmptyFile();
  }

  @Test
  void one_that_is_not_in_the_cache_is_told_with_the_way_to_get_it() throws Exception {
    List<String> log = run(List.of("merge -m nowhere -a org/other -o " + folder.resolve("x")));

    assertThat(log)
        .containsExactly(
            "merge -m nowhere -a org/other -o %1$s/x -> 1 error: org/other: there is no such folder, and the hub's cache %1$s/cache has no adapter of that name; check the path, or fetch it from the hub as hub:org/other"
                .formatted(folder));
  }

  @Test
  void a_name_that_no_repository_has_is_a_wrong_command_line() {
    CommandRun run = CommandRun.of("merge", "-m", "m", "-a", "hub:lonely", "-o", "x");

    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err())
        .contains(
            "'hub:lonely' is not the name of an adapter in a repository; write"
                + " hub:org/name[/sub/folder][@revision]");
  }
}
