package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.StringReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.xml.sax.InputSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

final class ReportTest {

  private static final String EVIL = "</script><script>alert(1)</script>\" @title@ $1 & 'x'";

  @TempDir private Path folder;

  private static RunHistory history(int steps) {
    return new RunHistory(
        IntStream.rangeClosed(1, steps).mapToObj(RunLogTest::step).toList(),
        List.of(RunLogTest.eval(0), RunLogTest.eval(steps)));
  }

  private static Report report(RunHistory history) {
    return new Report(
        "runs/a", history, "model: m\n", Map.of("Model", "m"), Map.of("Cores", "2"), List.of());
  }

  private static JsonNode data(String html) {
    Matcher data = Pattern.compile("id=\"data\">(.*?)</script>", Pattern.DOTALL).matcher(html);
    assertThat(data.find()).isTrue();
    return JsonMapper.shared().readTree(data.group(1));
  }

  @Test
  void the_page_needs_nothing_from_outside() {
    String html = report(history(5)).html();

    assertThat(html)
        .doesNotContainPattern("(?i)(src|href)\\s*=")
        .doesNotContain("url(", "@import", "fetch(")
        .contains("default-src 'none'");
    assertThat(html.replace("http://www.w3.org/2000/svg", "")).doesNotContain("http:", "https:");
  }

  @Test
  void every_chart_has_its_picture_and_its_numbers() {
    String html = report(history(5)).html();

    assertThat(html).contains("data-chart=\"loss\"", "data-chart=\"rate\"", "data-chart=\"norm\"");
    assertThat(html).contains("data-chart=\"speed\"", "data-chart=\"memory\"");
    assertThat(data(html).path("loss").path(0).path("y").toString())
        .isEqualTo("[1.0,2.0,3.0,4.0,5.0]");
    assertThat(data(html).path("memory").path(0).path("y").path(0).doubleValue()).isEqualTo(3);
  }

  @Test
  void the_pictures_are_well_formed() throws Exception {
    Matcher svg =
        Pattern.compile("<svg.*?</svg>", Pattern.DOTALL).matcher(report(history(5)).html());
    int pictures = 0;

    while (svg.find()) {
      DocumentBuilderFactory.newInstance()
          .newDocumentBuilder()
          .parse(new InputSource(new StringReader(svg.group())));
      pictures++;
    }

    assertThat(pictures).isEqualTo(5);
  }

  @Test
  void nothing_that_is_shown_can_become_mark_up() {
    var report =
        new Report(
            EVIL,
            history(5),
            EVIL,
            Map.of(EVIL, EVIL),
            Map.of(EVIL, EVIL),
            List.of(new Sample(EVIL, EVIL, null)));

    String html = report.html();

    assertThat(html).doesNotContain("<script>alert").doesNotContain("$1 & ");
    assertThat(html)
        .contains("&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; @title@ $1");
  }

  @Test
  void the_tiles_tell_the_result() {
    assertThat(report(history(1)).html())
        .contains("<b>1.5000 → 1.5000</b><span>eval loss</span>")
        .contains("<b>4.48</b><span>eval perplexity</span>")
        .contains("<b>3.00 GiB</b><span>peak memory</span>");
  }

  @Test
  void a_run_that_did_nothing_has_a_page_too() {
    String html = report(new RunHistory(List.of(), List.of())).html();

    assertThat(html)
        .contains("<b>0</b><span>steps</span>")
        .doesNotContain("<svg")
        .contains("model: m");
  }

  @Test
  void losses_that_are_no_numbers_leave_gaps() {
    var broken = new StepMetrics(2, 2, Double.NaN, 1, Double.POSITIVE_INFINITY, 1, 1, 1);
    var history = new RunHistory(List.of(RunLogTest.step(1), broken), List.of());

    String html = report(history).html();

    assertThat(data(html).path("loss").path(0).path("x").toString()).isEqualTo("[1.0]");
    assertThat(html.substring(html.indexOf("<svg"))).doesNotContain("NaN", "Infinity,");
  }

  @Test
  void a_long_run_makes_no_long_page() {
    String html = report(history(20_000)).html();

    assertThat(html.length()).isLessThan(1_000_000);
    assertThat(data(html).path("rate").path(0).path("x")).last().hasToString("20000.0");
  }

  @Test
  void the_page_is_written_whole() throws IOException {
    Path file = folder.resolve("report.html");
    Files.writeString(file, "old");

    report(history(5)).write(file);

    assertThat(Files.readString(file)).startsWith("<!DOCTYPE html>").endsWith("</html>\n");
    assertThat(folder).isDirectoryNotContaining("glob:**.part");
  }
}
