package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;

import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;
import javax.imageio.ImageIO;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

final class LossPlotTest {

  private static final int SMOOTHED = 0x1F5FBF;
  private static final int EVAL = 0xD95F0E;

  @TempDir private Path folder;

  private BufferedImage picture(RunHistory history) throws IOException {
    Path png = folder.resolve("loss.png");
    LossPlot.write(history, "a run", png);
    return ImageIO.read(png.toFile());
  }

  private static long pixels(BufferedImage image, int color) {
    int[] all = image.getRGB(0, 0, image.getWidth(), image.getHeight(), null, 0, image.getWidth());
    return IntStream.of(all).filter(pixel -> (pixel & 0xFFFFFF) == color).count();
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 12, 300})
  void train_and_eval_loss_are_drawn_twice_as_wide_as_high(int steps) throws IOException {
    var history =
        new RunHistory(
            IntStream.rangeClosed(1, steps).mapToObj(RunLogTest::step).toList(),
            List.of(RunLogTest.eval(0), RunLogTest.eval(steps)));

    BufferedImage image = picture(history);

    assertThat(image.getWidth()).isEqualTo(2 * image.getHeight());
    assertThat(pixels(image, SMOOTHED)).isGreaterThan(50);
    assertThat(pixels(image, EVAL)).isGreaterThan(50);
  }

  @Test
  void a_run_without_a_finite_loss_still_has_a_picture() throws IOException {
    var broken = new StepMetrics(1, 1, Double.NaN, 1, 1, 1, 1, 1);

    assertThat(picture(new RunHistory(List.of(broken), List.of())).getWidth()).isEqualTo(1600);
    assertThat(picture(new RunHistory(List.of(), List.of())).getWidth()).isEqualTo(1600);
  }
}
