package espalier.cli;

import java.awt.Color;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.DoubleSummaryStatistics;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.style.markers.SeriesMarkers;

/**
 * The size and the shape of an adapter's update by layer: above its norm, one line for each kind of
 * module; below its singular values, one line for each layer in the colour of its kind.
 */
final class NormPlot {

  /** Up to this ratio of singular values a logarithmic axis would have next to no labels. */
  private static final double FLAT = 100;

  private NormPlot() {}

  /**
   * A layer's update.
   *
   * @param kind what the layer is called in each block
   * @param block the number of its block
   * @param norm Frobenius norm of the update
   * @param spectrum singular values of the update, falling
   */
  record Point(String kind, int block, double norm, List<Double> spectrum) {}

  static void write(List<Point> points, String title, Path png) {
    var charts = new ArrayList<XYChart>();
    XYChart norms = norms(points, title);
    charts.add(norms);
    if (points.stream().anyMatch(point -> !point.spectrum().isEmpty())) {
      charts.add(spectra(points, norms));
    }
    Picture.write(charts, png);
  }

  private static XYChart norms(List<Point> points, String title) {
    var kinds = new TreeMap<String, TreeMap<Integer, Double>>();
    for (Point point : points) {
      kinds
          .computeIfAbsent(point.kind(), _ -> new TreeMap<>())
          // Two of a name in one block count together.
          .merge(point.block(), point.norm(), Math::hypot);
    }
    XYChart chart = Picture.chart(title, "block", "Frobenius norm of the update");
    kinds.forEach(
        (kind, norms) ->
            chart.addSeries(
                kind,
                norms.keySet().stream().mapToDouble(Integer::doubleValue).toArray(),
                norms.values().stream().mapToDouble(Double::doubleValue).toArray()));
    return chart;
  }

  /** How many times the smallest singular value the largest is. */
  private static double span(List<Point> points) {
    DoubleSummaryStatistics all =
        points.stream()
            .flatMap(point -> point.spectrum().stream())
            .mapToDouble(Double::doubleValue)
            .summaryStatistics();
    return all.getMax() / all.getMin();
  }

  private static XYChart spectra(List<Point> points, XYChart norms) {
    XYChart chart =
        Picture.chart(
            "Spectrum: one line a layer",
            "number of the singular value",
            "singular value of the update");
    chart.getStyler().setYAxisLogarithmic(span(points) > FLAT);
    chart.getStyler().setMarkerSize(5);
    Color[] palette = norms.getStyler().getSeriesColors();
    List<String> kinds = points.stream().map(Point::kind).distinct().sorted().toList();
    var shown = new ArrayList<String>();
    for (int i = 0; i < points.size(); i++) {
      Point point = points.get(i);
      List<Double> values = point.spectrum();
      if (values.isEmpty()) {
        continue;
      }
      List<Integer> numbers = IntStream.rangeClosed(1, values.size()).boxed().toList();
      Color colour = palette[kinds.indexOf(point.kind()) % palette.length];
      XYSeries line = chart.addSeries(point.kind() + " " + i, numbers, values);
      line.setLabel(point.kind());
      line.setShowInLegend(!shown.contains(point.kind()));
      line.setLineColor(colour).setLineWidth(1.5f);
      line.setMarkerColor(colour);
      line.setMarker(SeriesMarkers.CIRCLE);
      shown.add(point.kind());
    }
    return chart;
  }
}
