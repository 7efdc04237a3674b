package espalier.cli;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/**
 * What is made of measurements. {@code bench.jsonl} holds lines as {@code bench --out} keeps them,
 * recorded from this program and from {@code bench/peft_reference.py} on the model of {@code
 * parity/models/llama}; the train lines are three rounds, with other times.
 */
final class BenchTableTest {

  private static String resource(String name) throws IOException {
    try (InputStream in =
        Objects.requireNonNull(BenchTableTest.class.getResourceAsStream(name), name)) {
      return new String(in.readAllBytes(), UTF_8);
    }
  }

  private static List<ObjectNode> recorded() throws IOException {
    return resource("bench.jsonl")
        .lines()
        .map(line -> (ObjectNode) JsonMapper.shared().readTree(line))
        .toList();
  }

  private static List<ObjectNode> rows(List<ObjectNode> lines) {
    var table = new BenchTable();
    lines.forEach(table::add);
    return table.rows();
  }

  private static ObjectNode row(List<ObjectNode> rows, String work) {
    return rows.stream()
        .filter(row -> row.path("work").asString().equals(work))
        .findFirst()
        .orElseThrow();
  }

  @Test
  void all_that_both_sides_measured_is_in_the_printed_table() throws IOException {
    var printed = new StringWriter();

    new Output(new PrintWriter(printed), new PrintWriter(new StringWriter()))
        .table(rows(recorded()), false);

    assertThat(printed.toString()).isEqualToNormalizingNewlines(resource("bench-table.txt"));
  }

  @Test
  void the_recording_has_every_section_that_can_be_asked_for() throws IOException {
    var all =
        new BenchPlan(BenchPlan.SECTIONS, List.of("lora"), List.of("f32"), List.of("1x32"), 2);
    List<String> planned = all.jobs().stream().map(job -> job.path("section").asString()).toList();

    List<String> recorded =
        recorded().stream()
            .filter(line -> line.path("side").asString().equals(BenchTable.OURS))
            .map(line -> line.path("section").asString())
            .toList();

    assertThat(recorded).containsAll(planned);
  }

  @Test
  void no_result_of_ours_is_dropped() throws IOException {
    List<ObjectNode> lines = recorded();

    List<ObjectNode> rows = rows(lines);

    assertThat(lines)
        .allSatisfy(
            line ->
                assertThat(rows)
                    .anyMatch(
                        row ->
                            row.path("work").asString().startsWith(BenchTable.work(line) + ",")));
    assertThat(rows).allMatch(row -> row.path("our_median").isNumber());
  }

  @Test
  void a_ratio_is_that_of_the_medians_over_the_rounds() {
    List<ObjectNode> rows =
        rows(
            List.of(
                trained(BenchTable.OURS, 3, 500),
                trained(BenchTable.REFERENCE, 6, 1000),
                trained(BenchTable.OURS, 1, 700),
                trained(BenchTable.REFERENCE, 2, 1000),
                trained(BenchTable.OURS, 2, 400),
                trained(BenchTable.REFERENCE, 40, 1000)));

    assertThat(rows)
        .extracting(ObjectNode::toString)
        .containsExactly(
            "{\"work\":\"train lora bf16 4x256, s/step\",\"our_median\":2.0,"
                + "\"reference_median\":6.0,\"ratio\":0.3333333333333333,\"our_peak_mb\":500.0,"
                + "\"reference_peak_mb\":1000.0,\"peak_ratio\":0.5}");
  }

  @Test
  void what_a_side_lacks_is_named() throws IOException {
    List<ObjectNode> rows = rows(recorded());

    assertThat(row(rows, "train abba f32 1x32, s/step").path("missing").asString())
        .isEqualTo("reference (not measured)");
    assertThat(row(rows, "train lora_ckpt f32 1x32, s/step").path("missing").asString())
        .isEqualTo("reference in 1 of 3 rounds (error)");
    ObjectNode corda = row(rows, "init corda f32, s");
    assertThat(corda.path("missing").asString()).isEqualTo("reference (error)");
    assertThat(corda.path("ratio").isNull()).isTrue();
    assertThat(row(rows, "train lora f32 1x32, s/step").has("missing")).isFalse();
  }

  @Test
  void an_error_of_ours_is_named_beside_what_the_reference_did() {
    ObjectNode failed = job(BenchTable.OURS).put("error", "ended with 1: out of memory");

    ObjectNode row = rows(List.of(failed, trained(BenchTable.REFERENCE, 2, 1000))).getFirst();

    assertThat(row.path("reference_median").asDouble()).isEqualTo(2);
    assertThat(row.path("missing").asString()).isEqualTo("ours (error)");
  }

  @Test
  void where_the_reference_was_not_asked_for_it_is_not_missing() {
    ObjectNode row = rows(List.of(trained(BenchTable.OURS, 1, 500))).getFirst();

    assertThat(row.path("ratio").isNull()).isTrue();
    assertThat(row.has("missing")).isFalse();
  }

  @Test
  void a_switch_stands_beside_the_merge_that_it_takes_the_place_of() throws IOException {
    ObjectNode ours = Output.row().put("section", "switch").put("dtype", "bf16").put("size", 576);
    ObjectNode theirs = ours.deepCopy().put("side", BenchTable.REFERENCE);
    ours.put("side", BenchTable.OURS);
    ours.putObject("shira_r16").put("lora_merges", 10).putObject("switch").put("min_s", 0.001);
    theirs.putObject("peft_shira_r16").putObject("switch").put("min_s", 0.004);
    theirs.putObject("peft_lora_r16").putObject("merge").put("min_s", 0.02);

    List<ObjectNode> rows = rows(List.of(ours, theirs));

    String work = "switch bf16 576x576, ";
    assertThat(row(rows, work + "SHiRA r 16 switch s").path("ratio").asDouble()).isEqualTo(0.25);
    assertThat(
            row(rows, work + "our SHiRA r 16 switch beside their LoRA r 16 merge s")
                .path("ratio")
                .asDouble())
        .isEqualTo(0.05);
    ObjectNode merges =
        row(rows, work + "SHiRA r 16 switches in the time of a LoRA r 16 merge of the same side");
    assertThat(merges.path("our_median").asDouble()).isEqualTo(10);
    assertThat(merges.path("reference_median").asDouble()).isEqualTo(5);
  }

  private static ObjectNode job(String side) {
    return Output.row()
        .put("section", "train")
        .put("dtype", "bf16")
        .put("method", "lora")
        .put("batch", 4)
        .put("seq", 256)
        .put("side", side);
  }

  private static ObjectNode trained(String side, double seconds, double peak) {
    ObjectNode result = job(side).put("peak_mb", peak);
    result.putObject("step").put("median_s", seconds);
    return result;
  }
}
