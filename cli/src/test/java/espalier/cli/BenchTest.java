package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.node.ObjectNode;

class BenchTest {

  private static final List<String> BF16 = List.of("bf16");

  private static BenchPlan plan(String section, String... methods) {
    return new BenchPlan(List.of(section), List.of(methods), BF16, List.of("4x256"), 3);
  }

  @Test
  void a_training_job_says_what_the_reference_takes() {
    List<ObjectNode> jobs = plan("train", "lora").jobs();

    assertThat(jobs)
        .extracting(ObjectNode::toString)
        .containsExactly(
            "{\"section\":\"train\",\"dtype\":\"bf16\",\"method\":\"lora\",\"batch\":4,\"seq\":256,"
                + "\"reps\":3,\"flops\":false}");
  }

  @Test
  void operations_are_for_methods_that_are_saved_in_a_way_of_their_own() {
    List<ObjectNode> jobs = plan("ops", "forward", "lora", "lora_ckpt", "hira").jobs();

    assertThat(jobs).extracting(job -> job.path("kind").asString()).containsExactly("lora", "hira");
  }

  @Test
  void packed_steps_stand_beside_a_short_fine_tuning_of_the_reference() {
    ObjectNode job = plan("packed").jobs().getFirst();

    ObjectNode reference = Objects.requireNonNull(BenchPlan.reference(job));

    assertThat(reference.path("section").asString()).isEqualTo("quality");
    assertThat(job.path("section").asString()).isEqualTo("packed");
  }

  @Test
  void what_the_reference_does_not_have_has_no_counterpart() {
    assertThat(BenchPlan.reference(plan("leak").jobs().getFirst())).isNull();
    assertThat(BenchPlan.reference(plan("train", "abba").jobs().getFirst())).isNull();
    assertThat(BenchPlan.reference(plan("train", "gralora").jobs().getFirst())).isNotNull();
  }

  @Test
  void checkpointing_is_measured_for_each_method_that_trains() {
    List<ObjectNode> jobs = plan("checkpointing", "forward", "lora", "lora_ckpt", "hira").jobs();

    assertThat(jobs)
        .extracting(job -> job.path("method").asString())
        .containsExactly("lora_ckpt", "hira_ckpt");
  }

  @Test
  void a_switch_stands_beside_the_merge_that_it_takes_the_place_of() {
    ObjectNode job = plan("switch").jobs().getFirst();
    var table = new BenchTable();
    ObjectNode ours = Output.row();
    ours.putObject("shira_r16").putObject("switch").put("min_s", 0.001);
    ObjectNode theirs = Output.row();
    theirs.putObject("peft_shira_r16").putObject("switch").put("min_s", 0.004);
    theirs.putObject("peft_lora_r16").putObject("merge").put("min_s", 0.02);
    table.ours(job, ours);
    table.reference(job, theirs);

    List<ObjectNode> rows = table.rows();

    assertThat(rows.getFirst().path("ratio").asDouble()).isEqualTo(0.25);
    assertThat(rows.get(3).path("ratio").asDouble()).isEqualTo(0.05);
  }

  @Test
  void an_unknown_section_is_refused_with_the_known_ones() {
    assertThatThrownBy(() -> plan("trian"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "the section trian is not known; known are train, checkpointing, ops, combine, switch,"
                + " init, generate, growth, packed, start, leak");
  }

  @Test
  void a_shape_without_a_length_is_refused() {
    assertThatThrownBy(() -> new BenchPlan(List.of(), List.of(), BF16, List.of("4"), 1))
        .hasMessage("the shape 4 is not batch x length; write 4x256");
  }

  @Test
  void the_table_has_medians_over_the_rounds_and_their_ratio() {
    ObjectNode job = plan("train", "lora").jobs().getFirst();
    var table = new BenchTable();
    for (double seconds : new double[] {3, 1, 2}) {
      table.ours(job, result(seconds, 500));
      table.reference(job, result(2 * seconds, 1000));
    }

    List<ObjectNode> rows = table.rows();

    assertThat(rows)
        .extracting(ObjectNode::toString)
        .containsExactly(
            "{\"work\":\"train lora bf16 4x256, s/step\",\"our_median\":2.0,"
                + "\"reference_median\":4.0,\"ratio\":0.5,\"our_peak_mb\":500.0,"
                + "\"reference_peak_mb\":1000.0,\"peak_ratio\":0.5}");
  }

  @Test
  void without_a_reference_there_is_no_ratio() {
    ObjectNode job = plan("train", "lora").jobs().getFirst();
    var table = new BenchTable();
    table.ours(job, result(1, 500));
    table.reference(job, job.deepCopy().put("error", "no such module"));

    ObjectNode row = table.rows().getFirst();

    assertThat(row.path("our_median").asDouble()).isEqualTo(1);
    assertThat(row.path("ratio").isNull()).isTrue();
  }

  @Test
  void the_median_of_an_even_count_lies_in_the_middle() {
    assertThat(Timing.median(List.of(4.0, 1.0, 2.0, 3.0))).isEqualTo(2.5);
  }

  private static ObjectNode result(double seconds, double peak) {
    ObjectNode result = Output.row().put("peak_mb", peak);
    result.putObject("step").put("median_s", seconds);
    return result;
  }
}
