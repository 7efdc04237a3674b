package espalier.training;

import espalier.text.WholeFile;
import java.awt.AWTError;
import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import javax.imageio.ImageIO;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.Styler.LegendPosition;
import org.knowm.xchart.style.XYStyler;
import org.knowm.xchart.style.markers.Marker;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** Draws the loss of a run as a picture of 1600 by 800 pixels. */
public final class LossPlot {

  private static final int WIDTH = 1600;
  private static final int HEIGHT = 800;

  private static final Color LOSS = new Color(0xB4, 0xCB, 0xEC);
  private static final Color SMOOTHED = new Color(0x1F, 0x5F, 0xBF);
  private static final Color EVAL = new Color(0xD9, 0x5F, 0x0E);
  private static final Color TEXT = new Color(0x2B, 0x2F, 0x36);
  private static final Color GRID = new Color(0xE3, 0xE6, 0xEA);

  private LossPlot() {}

  /**
   * Writes the picture as a PNG, whole or not at all.
   *
   * @throws IOException if the file cannot be written, or this machine cannot draw text
   */
  public static void write(RunHistory history, String title, Path png) throws IOException {
    try {
      WholeFile.write(png, picture(chart(history, title)));
    } catch (LinkageError | InternalError | AWTError | RuntimeException e) {
      // A small container may have no fonts at all, or a display that is not there.
      throw new IOException(
          "%s could not be drawn: %s; start Java with -Djava.awt.headless=true, and have fontconfig and a font such as DejaVu"
              .formatted(png, e.getMessage()),
          e);
    }
  }

  private static byte[] picture(XYChart chart) throws IOException {
    var image = new BufferedImage(WIDTH, HEIGHT, BufferedImage.TYPE_INT_RGB);
    Graphics2D graphics = image.createGraphics();
    try {
      chart.paint(graphics, WIDTH, HEIGHT);
    } finally {
      graphics.dispose();
    }
    var png = new ByteArrayOutputStream();
    ImageIO.write(image, "png", png);
    return png.toByteArray();
  }

  private static XYChart chart(RunHistory history, String title) {
    var chart = new XYChart(WIDTH, HEIGHT);
    chart.setTitle(title);
    chart.setXAxisTitle("optimizer step");
    chart.setYAxisTitle("loss (nats per token)");
    style(chart.getStyler());
    List<StepMetrics> steps =
        history.steps().stream().filter(step -> Double.isFinite(step.loss())).toList();
    if (!steps.isEmpty()) {
      double[] x = steps.stream().mapToDouble(StepMetrics::step).toArray();
      double[] loss = steps.stream().mapToDouble(StepMetrics::loss).toArray();
      double[] smooth = Smoothing.of(loss);
      Marker marker = steps.size() == 1 ? SeriesMarkers.CIRCLE : SeriesMarkers.NONE;
      if (!Arrays.equals(loss, smooth)) { // a short run is not smoothed
        line(chart.addSeries("train loss", x, loss), LOSS, 2, SeriesMarkers.NONE);
      }
      String name = Arrays.equals(loss, smooth) ? "train loss" : "train loss, smoothed";
      line(chart.addSeries(name, x, smooth), SMOOTHED, 4, marker);
    }
    List<EvalMetrics> evals =
        history.evals().stream().filter(eval -> Double.isFinite(eval.loss())).toList();
    if (!evals.isEmpty()) {
      double[] x = evals.stream().mapToDouble(EvalMetrics::step).toArray();
      double[] loss = evals.stream().mapToDouble(EvalMetrics::loss).toArray();
      line(chart.addSeries("eval loss", x, loss), EVAL, 3, SeriesMarkers.CIRCLE);
    }
    roundTicks(chart.getStyler(), history);
    return chart;
  }

  /**
   * XChart sets the ticks of equally spaced values at multiples of the spacing (0, 11, 22, ...),
   * and round ones otherwise. An end a little beyond the last step makes the spacing unequal.
   */
  private static void roundTicks(XYStyler styler, RunHistory history) {
    int last = history.steps().stream().mapToInt(StepMetrics::step).max().orElse(0);
    if (last > 10) { // fewer have one tick a step, and 0.5 is none
      styler.setXAxisMax(last * 1.001);
    }
  }

  private static void line(XYSeries series, Color color, float width, Marker marker) {
    series.setLineColor(color);
    series.setLineStyle(new BasicStroke(width, BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND));
    series.setMarker(marker);
    series.setMarkerColor(color);
  }

  private static void style(XYStyler styler) {
    styler.setLocale(Locale.ROOT); // "1.5" everywhere, as in the other files of the run
    styler.setChartBackgroundColor(Color.WHITE);
    styler.setChartFontColor(TEXT);
    styler.setChartPadding(24);
    styler.setChartTitleFont(font(Font.BOLD, 32));
    styler.setChartTitleBoxVisible(false);
    styler.setChartTitlePadding(16);
    styler.setPlotBackgroundColor(Color.WHITE);
    styler.setPlotBorderVisible(false);
    styler.setPlotGridLinesColor(GRID);
    styler.setPlotGridLinesStroke(new BasicStroke(1.5f));
    styler.setPlotGridVerticalLinesVisible(false);
    styler.setPlotTicksMarksVisible(false);
    styler.setAxisTitleFont(font(Font.PLAIN, 26));
    styler.setAxisTitlePadding(14);
    styler.setAxisTickLabelsFont(font(Font.PLAIN, 24));
    styler.setAxisTickLabelsColor(TEXT);
    styler.setAxisTickPadding(10);
    styler.setXAxisTickMarkSpacingHint(160);
    styler.setYAxisTickMarkSpacingHint(90);
    styler.setXAxisDecimalPattern("#,##0.##");
    styler.setLegendPosition(LegendPosition.InsideNE);
    styler.setLegendFont(font(Font.PLAIN, 24));
    styler.setLegendBorderColor(GRID);
    styler.setLegendPadding(14);
    styler.setLegendSeriesLineLength(40);
    styler.setMarkerSize(14);
  }

  private static Font font(int style, int size) {
    return new Font(Font.SANS_SERIF, style, size);
  }
}
