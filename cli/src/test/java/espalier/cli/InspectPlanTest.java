package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** What a recipe would train, without its data. */
class InspectPlanTest {

  private static final String MODEL = "../parity/models/llama";

  @TempDir Path folder;

  private static String plan(String recipe, String... settings) {
    var arguments =
        new ArrayList<>(
            List.of("inspect", "-m", MODEL, "-r", "../examples/recipes/" + recipe + ".yaml"));
    Arrays.stream(settings).forEach(setting -> arguments.addAll(List.of("--set", setting)));
    CommandRun run = CommandRun.of(arguments.toArray(String[]::new));
    assertThat(run.exitCode()).as(run.err()).isZero();
    return run.out();
  }

  private static String row(String table, String layer) {
    return table.lines().filter(line -> line.startsWith(layer)).findFirst().orElse("");
  }

  @ParameterizedTest
  @ValueSource(strings = {"hira-sb", "lora-sb", "corda", "eva", "lora-ga", "lora"})
  void a_start_from_data_shows_targets_ranks_and_parameters(String recipe) {
    String table = plan(recipe, "adapter.r=4");

    assertThat(row(table, "layers")).matches("layers +count +r +parameters");
    assertThat(row(table, "q_proj")).matches("q_proj +2 +4 +\\d+");
    assertThat(table).contains("trainable params: ");
    if (recipe.endsWith("sb")) { // r² numbers a layer
      assertThat(row(table, "q_proj")).endsWith(" 32");
    }
  }

  @Test
  void ranks_are_those_of_each_layer_and_method() {
    String pattern = "adapter.rank_pattern={layers.0.self_attn.q_proj: 2}";

    assertThat(row(plan("hira-sb", "adapter.r=4", pattern), "q_proj")).contains(" 2 to 4 ");
    assertThat(row(plan("gralora", "adapter.r=4", pattern), "q_proj")).contains(" 2 to 4 ");
    String abba = plan("abba", "adapter.r1=2", "adapter.r2=3");
    assertThat(row(abba, "layers")).matches("layers +count +r1 +r2 +parameters");
    assertThat(row(abba, "q_proj")).matches("q_proj +2 +2 +3 +\\d+");
  }

  @Test
  void the_picture_has_a_panel_of_norms_and_one_of_spectra() throws IOException {
    String png = folder.resolve("update.png").toString();

    CommandRun run =
        CommandRun.of(
            "inspect",
            "../parity/cases/lora_default_llama/adapter",
            "-m",
            MODEL,
            "--plot",
            png,
            "--json");

    assertThat(run.exitCode()).as(run.err()).isZero();
    assertThat(run.out().lines()).allMatch(line -> line.contains("\"largest_singular_value\":"));
    BufferedImage picture = ImageIO.read(Path.of(png).toFile());
    assertThat(picture.getHeight()).isEqualTo(1800);
    assertThat(colours(picture.getSubimage(0, 900, 1600, 900))).isGreaterThan(2);
  }

  private static long colours(BufferedImage part) {
    int[] pixels = part.getRGB(0, 0, part.getWidth(), part.getHeight(), null, 0, part.getWidth());
    return Arrays.stream(pixels).distinct().count();
  }
}
