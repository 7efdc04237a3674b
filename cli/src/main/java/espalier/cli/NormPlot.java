package espalier.cli;

import java.nio.file.Path;
import java.util.List;
import java.util.TreeMap;
import org.knowm.xchart.XYChart;

/** The size of an adapter's update by layer: one line for each kind of module. */
final class NormPlot {

  private NormPlot() {}

  /**
   * A layer's update.
   *
   * @param kind what the layer is called in each block
   * @param block the number of its block
   * @param norm Frobenius norm of the update
   */
  record Point(String kind, int block, double norm) {}

  static void write(List<Point> points, String title, Path png) {
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
    Picture.write(chart, png);
  }
}
