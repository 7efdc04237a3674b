package espalier.training;

import java.util.ArrayList;
import java.util.List;

/**
 * One line of a chart.
 *
 * @param name as the legend has it
 * @param style the class that the page's style sheet colours
 * @param dots whether each point is marked
 * @param x steps, rising
 * @param y values, as many; all finite
 */
record Series(String name, String style, boolean dots, List<Double> x, List<Double> y) {

  private static final int MOST_POINTS = 1500; // more than the pixels of a wide screen show

  /** A point of a series. */
  record Point(double x, double y) {}

  /** The points that have a value, thinned evenly where they are more than can be seen. */
  static Series of(String name, String style, boolean dots, List<Point> points) {
    List<Point> finite = points.stream().filter(point -> Double.isFinite(point.y())).toList();
    int every = Math.ceilDiv(finite.size(), MOST_POINTS);
    var x = new ArrayList<Double>();
    var y = new ArrayList<Double>();
    for (int i = 0; i < finite.size(); i++) {
      if (i % Math.max(1, every) == 0 || i == finite.size() - 1) {
        x.add(finite.get(i).x());
        y.add(finite.get(i).y());
      }
    }
    return new Series(name, style, dots, List.copyOf(x), List.copyOf(y));
  }
}
