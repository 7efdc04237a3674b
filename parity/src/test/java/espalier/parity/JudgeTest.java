package espalier.parity;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

final class JudgeTest {

  private final Scope scope = Scope.graph();

  @AfterEach
  void close() {
    scope.close();
  }

  @Test
  void a_tensor_passes_up_to_the_limit_and_not_above() {
    Judge judge = judge("{}");
    Tensor want = tensor(new float[] {10, -100}); // limit 0.5 + 0.01 * 100

    assertThat(judge.faults(Map.of("y", want), Map.of("y", tensor(new float[] {11.4f, -100}))))
        .isEmpty();
    assertThat(judge.faults(Map.of("y", want), Map.of("y", tensor(new float[] {11.6f, -100}))))
        .containsExactly("y is off by 1.600e+00 (relative 1.6e-02) where 1.500e+00 is allowed");
  }

  @Test
  void a_tensor_may_have_a_tolerance_of_its_own() {
    Judge judge =
        judge(
            """
            {"tolerance": {"default": {"rtol": 0, "atol": 0},
                           "tensors": {"y": {"rtol": 0, "atol": 2}}}}
            """);
    Tensor want = tensor(new float[] {1});

    assertThat(judge.faults(Map.of("y", want), Map.of("y", tensor(new float[] {2.5f})))).isEmpty();
  }

  @Test
  void a_missing_tensor_is_a_fault_and_an_extra_one_is_not() {
    Judge judge = judge("{}");
    Tensor t = tensor(new float[] {1});

    assertThat(judge.faults(Map.of("y", t), Map.of("y", t, "z", t))).isEmpty();
    assertThat(judge.faults(Map.of("y", t), Map.of("z", t))).containsExactly("y was not produced");
  }

  @Test
  void another_shape_is_a_fault_even_with_the_same_numbers() {
    Tensor want = tensor(new float[] {1, 2});

    assertThat(judge("{}").faults(Map.of("y", want), Map.of("y", want.view(1, 2))))
        .containsExactly("y is [1, 2] instead of [2]");
  }

  @Test
  void not_a_number_is_a_fault_under_every_rule() {
    Tensor want = tensor(new float[] {1, 2}).view(1, 2);
    Tensor got = tensor(new float[] {1, Float.NaN}).view(1, 2);

    assertThat(judge("{}").faults(Map.of("y", want), Map.of("y", got))).hasSize(1);
    assertThat(judge(SIGN).faults(Map.of("y", want), Map.of("y", got))).hasSize(1);
  }

  private static final String SIGN = "{\"check\": {\"y*\": {\"mode\": \"sign\", \"axis\": 0}}}";

  @Test
  void a_slice_may_be_flipped_as_a_whole_where_the_sign_is_free() {
    Tensor want = tensor(new float[] {10, 20, 30, 40}).view(2, 2);
    Tensor flipped = tensor(new float[] {-10, -20, 30, 40}).view(2, 2);
    Tensor torn = tensor(new float[] {-10, 20, 30, 40}).view(2, 2);

    assertThat(judge(SIGN).faults(Map.of("y", want), Map.of("y", flipped))).isEmpty();
    assertThat(judge(SIGN).faults(Map.of("y", want), Map.of("y", torn))).hasSize(1);
    assertThat(judge("{}").faults(Map.of("y", want), Map.of("y", flipped))).hasSize(1);
  }

  @Test
  void seeded_numbers_are_compared() {
    Judge judge = judge("{\"check\": {\"y\": {\"mode\": \"seeded\"}}}");

    assertThat(
            judge.faults(
                Map.of("y", tensor(new float[] {1})), Map.of("y", tensor(new float[] {9}))))
        .hasSize(1);
  }

  @Test
  void what_is_for_information_is_not_compared() {
    Judge judge = judge("{\"check\": {\"y\": {\"mode\": \"info\"}}}");
    Tensor t = tensor(new float[] {1});

    assertThat(judge.faults(Map.of("y", t, "info.z", t), Map.of())).isEmpty();
  }

  @Test
  void a_case_that_expects_nothing_proves_nothing() {
    assertThat(judge("{}").faults(Map.of(), Map.of())).hasSize(1);
  }

  @Test
  void an_unknown_check_is_refused() {
    Judge judge = judge("{\"check\": {\"y\": {\"mode\": \"roughly\"}}}");
    Tensor t = tensor(new float[] {1});

    assertThatThrownBy(() -> judge.faults(Map.of("y", t), Map.of("y", t)))
        .hasMessage("the check mode roughly is not known; known are value, sign, seeded and info");
  }

  @Test
  void shell_patterns_match_whole_names() {
    assertThat(ShellPattern.matches("adapter.*", "adapter.lora_A.weight")).isTrue();
    assertThat(ShellPattern.matches("adapter.*", "an.adapter.x")).isFalse();
    assertThat(ShellPattern.matches("a.?", "a.b")).isTrue();
    assertThat(ShellPattern.matches("a.b", "axb")).isFalse();
    assertThat(ShellPattern.matches("x[ab]", "xb")).isTrue();
    assertThat(ShellPattern.matches("x[!ab]", "xb")).isFalse();
    assertThat(ShellPattern.matches("x[", "x[")).isTrue();
  }

  @Test
  void values_are_equal_in_any_order_of_fields_and_nearly_equal_as_numbers() {
    assertThat(values("{\"a\": {\"x\": 1, \"y\": [2.0]}}", "{\"a\": {\"y\": [2.001], \"x\": 1}}"))
        .isEmpty();
    assertThat(values("{\"a\": [1, 2]}", "{\"a\": [2, 1]}"))
        .containsExactly("a is [2,1] instead of [1,2]");
    assertThat(values("{\"a\": true}", "{\"a\": 1}")).hasSize(1);
  }

  @Test
  void lists_of_names_are_equal_in_any_order() {
    assertThat(
            values(
                "{\"targeted_modules\": [\"p\", \"q\"]}", "{\"targeted_modules\": [\"q\", \"p\"]}"))
        .isEmpty();
  }

  private static List<String> values(String expected, String produced) {
    return ValueJudge.faults(Case.JSON.readTree(expected), Case.JSON.readTree(produced).asObject());
  }

  private static Judge judge(String json) {
    var whole = Case.JSON.createObjectNode();
    whole.set(
        "tolerance",
        Case.JSON.readTree("{\"default\": {\"rtol\": 0.01, \"atol\": 0.5}, \"tensors\": {}}"));
    whole.setAll(Case.JSON.readTree(json).asObject());
    return new Judge(new Case(Path.of("case"), whole));
  }
}
