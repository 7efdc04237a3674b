package espalier.cli;

import espalier.checkpoints.AtomicFiles;
import espalier.checkpoints.CheckpointException;
import java.awt.AWTError;
import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import javax.imageio.ImageIO;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.style.Styler.LegendPosition;
import org.knowm.xchart.style.XYStyler;

/** Charts as PNG files, 1600 by 900 pixels each, drawn without a display. */
final class Picture {

  private static final int WIDTH = 1600;
  private static final int HEIGHT = 900;
  private static final Color TEXT = new Color(0x2B, 0x2F, 0x36);
  private static final Color GRID = new Color(0xE3, 0xE6, 0xEA);

  static {
    if (System.getProperty("java.awt.headless") == null) {
      System.setProperty("java.awt.headless", "true");
    }
  }

  private Picture() {}

  /** An empty chart with the names of its axes. */
  static XYChart chart(String title, String x, String y) {
    var chart = new XYChart(WIDTH, HEIGHT);
    chart.setTitle(title);
    chart.setXAxisTitle(x);
    chart.setYAxisTitle(y);
    XYStyler styler = chart.getStyler();
    styler.setLocale(Locale.ROOT);
    styler.setChartBackgroundColor(Color.WHITE);
    styler.setChartFontColor(TEXT);
    styler.setChartPadding(24);
    styler.setChartTitleFont(font(Font.BOLD, 30));
    styler.setChartTitleBoxVisible(false);
    styler.setPlotBackgroundColor(Color.WHITE);
    styler.setPlotBorderVisible(false);
    styler.setPlotGridLinesColor(GRID);
    styler.setAxisTitleFont(font(Font.PLAIN, 24));
    styler.setAxisTickLabelsFont(font(Font.PLAIN, 20));
    styler.setAxisTickLabelsColor(TEXT);
    styler.setXAxisTickMarkSpacingHint(140);
    styler.setLegendPosition(LegendPosition.OutsideE);
    styler.setLegendFont(font(Font.PLAIN, 20));
    styler.setLegendBorderColor(GRID);
    styler.setMarkerSize(14);
    return chart;
  }

  private static Font font(int style, int size) {
    return new Font(Font.SANS_SERIF, style, size);
  }

  /**
   * Writes a chart, whole or not at all.
   *
   * @throws CheckpointException if it can not be drawn or written
   */
  static void write(XYChart chart, Path png) {
    write(List.of(chart), png);
  }

  /**
   * Writes charts, one below the other, whole or not at all.
   *
   * @throws CheckpointException if they can not be drawn or written
   */
  static void write(List<XYChart> charts, Path png) {
    var image = new BufferedImage(WIDTH, HEIGHT * charts.size(), BufferedImage.TYPE_INT_RGB);
    try {
      for (int i = 0; i < charts.size(); i++) {
        var graphics = (Graphics2D) image.createGraphics().create(0, i * HEIGHT, WIDTH, HEIGHT);
        try {
          charts.get(i).paint(graphics, WIDTH, HEIGHT);
        } finally {
          graphics.dispose();
        }
      }
    } catch (LinkageError | InternalError | AWTError e) {
      // A small container may have no fonts at all.
      throw new CheckpointException(
          "%s could not be drawn: %s; install fontconfig and a font such as DejaVu"
              .formatted(png, e.getMessage()),
          e);
    }
    AtomicFiles.write(png, out -> ImageIO.write(image, "png", out));
  }
}
