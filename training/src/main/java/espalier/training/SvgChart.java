package espalier.training;

import java.util.List;
import java.util.Locale;
import java.util.function.Function;
import java.util.stream.DoubleStream;
import java.util.stream.Stream;

/**
 * A line chart over the steps of a run, as SVG inside a page. It shows all it has without a script;
 * the page's script reads {@code data-*} to answer the pointer.
 *
 * @param id names the chart in the page
 * @param title above it; also read out by screen readers
 * @param fromZero whether the axis begins at 0, as it should for amounts
 */
record SvgChart(String id, String title, boolean fromZero, List<Series> series) {

  private static final int WIDTH = 960;
  private static final int HEIGHT = 300;
  private static final int LEFT = 64;
  private static final int RIGHT = 28;
  private static final int TOP = 12;
  private static final int BOTTOM = 30;

  SvgChart(String id, String title, boolean fromZero, Stream<Series> series) {
    this(id, title, fromZero, series.filter(line -> !line.x().isEmpty()).toList());
  }

  /** The figure with its caption, legend and picture; empty if there is nothing to show. */
  String html() {
    if (series.isEmpty()) {
      return "";
    }
    double lastStep = Math.max(1, all(Series::x).max().orElse(1));
    double low = all(Series::y).min().orElse(0);
    double high = all(Series::y).max().orElse(1);
    Ticks y = Ticks.around(fromZero ? Math.min(0, low) : low, high, 5);
    Ticks x = Ticks.around(0, lastStep, 8);
    var scale = new Scale(lastStep, y.low(), y.high());
    var svg = new StringBuilder();
    svg.append("<figure><figcaption>").append(Html.escaped(title));
    for (Series line : series) {
      svg.append(" <span class=\"key ").append(line.style()).append("\">");
      svg.append(Html.escaped(line.name())).append("</span>");
    }
    svg.append("</figcaption>\n");
    svg.append(
        String.format(
            Locale.ROOT,
            "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\" data-chart=\"%s\""
                + " data-left=\"%d\" data-right=\"%d\" data-top=\"%d\" data-bottom=\"%d\""
                + " data-last=\"%s\">\n",
            WIDTH,
            HEIGHT,
            Html.escaped(title),
            Html.escaped(id),
            LEFT,
            WIDTH - RIGHT,
            TOP,
            HEIGHT - BOTTOM,
            scale.last));
    axes(svg, x, y, scale);
    series.forEach(line -> line(svg, line, scale));
    return svg.append("</svg></figure>\n").toString();
  }

  private DoubleStream all(Function<Series, List<Double>> values) {
    return series.stream().flatMap(line -> values.apply(line).stream()).mapToDouble(v -> v);
  }

  private static void axes(StringBuilder svg, Ticks x, Ticks y, Scale scale) {
    for (double tick : y.values()) {
      double at = scale.y(tick);
      svg.append(
          String.format(
              Locale.ROOT,
              "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                  + "<text class=\"tick\" text-anchor=\"end\" x=\"%d\" y=\"%.1f\">%s</text>\n",
              LEFT,
              WIDTH - RIGHT,
              at,
              at,
              LEFT - 8,
              at + 4,
              y.label(tick)));
    }
    for (double tick : x.values()) {
      if (tick <= scale.last && tick == Math.rint(tick)) {
        svg.append(
            String.format(
                Locale.ROOT,
                "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">%s</text>\n",
                scale.x(tick),
                HEIGHT - 8,
                x.label(tick)));
      }
    }
  }

  private static void line(StringBuilder svg, Series series, Scale scale) {
    var points = new StringBuilder();
    for (int i = 0; i < series.x().size(); i++) {
      points.append(
          String.format(
              Locale.ROOT, "%.1f,%.1f ", scale.x(series.x().get(i)), scale.y(series.y().get(i))));
    }
    svg.append(
        String.format(
            Locale.ROOT,
            "<polyline class=\"line %s\" points=\"%s\"/>\n",
            series.style(),
            points.toString().strip()));
    if (series.dots() || series.x().size() == 1) {
      for (int i = 0; i < series.x().size(); i++) {
        svg.append(
            String.format(
                Locale.ROOT,
                "<circle class=\"dot %s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n",
                series.style(),
                scale.x(series.x().get(i)),
                scale.y(series.y().get(i))));
      }
    }
  }

  private record Scale(double last, double y0, double y1) {

    double x(double step) {
      return LEFT + step / last * (WIDTH - LEFT - RIGHT);
    }

    double y(double value) {
      return HEIGHT - BOTTOM - (value - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    }
  }
}
