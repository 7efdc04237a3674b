package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
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
  void an_unknown_section_is_refused_with_the_known_ones() {
    assertThatThrownBy(() -> plan("trian"))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "the section trian is not known; known are train, checkpointing, ops, combine, switch,"
                + " init, generate, growth, packed, start, leak, experts");
  }

  @Test
  void a_base_in_codes_is_measured_where_it_can_be_and_alone() {
    var plan =
        new BenchPlan(List.of("train"), List.of("lora"), List.of("nf4"), List.of("4x256"), 1);
    ObjectNode job = plan.jobs().getFirst();

    assertThat(job.path("dtype").asString()).isEqualTo("nf4");
    assertThat(BenchPlan.reference(job)).isNull();
    assertThatThrownBy(
            () -> new BenchPlan(List.of("switch"), List.of(), List.of("nf4"), List.of("4x256"), 1))
        .hasMessage(
            "--sections is switch but a base in nf4 is measured in train, checkpointing, generate,"
                + " packed, leak; name those, or bf16 and f32");
  }

  @Test
  void routed_experts_compute_what_every_experts_change_gives() {
    ObjectNode job = plan("experts").jobs().getFirst().put("dtype", "f32").put("reps", 1);
    ObjectNode record = job.deepCopy();
    Path nowhere = Path.of("");

    BenchExperts.measure(new BenchInputs(nowhere, nowhere, nowhere, 1), job, record);

    assertThat(record.path("gap").asDouble()).isLessThan(1e-5);
    assertThat(record.at("/routed_only/min_s").asDouble()).isPositive();
    assertThat(record.at("/every_delta/min_s").asDouble()).isPositive();
  }

  @Test
  void a_shape_without_a_length_is_refused() {
    assertThatThrownBy(() -> new BenchPlan(List.of(), List.of(), BF16, List.of("4"), 1))
        .hasMessage("the shape 4 is not batch x length; write 4x256");
  }

  @Test
  void the_median_of_an_even_count_lies_in_the_middle() {
    assertThat(Timing.median(List.of(4.0, 1.0, 2.0, 3.0))).isEqualTo(2.5);
  }
}
