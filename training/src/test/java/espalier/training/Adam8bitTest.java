package espalier.training;

import static espalier.training.Named.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.manual_seed;
import static org.bytedeco.pytorch.global.torch.randn;

import espalier.nn.Scope;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class Adam8bitTest {

  /** A low-rank student of a fixed matrix: A [16, 320], B [256, 16], as in one layer of LoRA. */
  private static final class Student {
    final Map<String, Tensor> parameters = new LinkedHashMap<>();
    private final Tensor teacher;

    Student() {
      manual_seed(21);
      parameters.put("lora_A.weight", randn(16, 320).mul(new Scalar(0.1)));
      parameters.put("lora_B.weight", randn(256, 16).mul(new Scalar(0.1)));
      parameters.put("bias", randn(256));
      parameters.values().forEach(p -> p.set_requires_grad(true));
      teacher = randn(256, 16).matmul(randn(16, 320)).mul(new Scalar(0.1));
    }

    Tensor loss(int step) {
      manual_seed(1000 + step);
      Tensor x = randn(32, 320);
      Tensor h = x.matmul(at(parameters, "lora_A.weight").t());
      Tensor y = h.matmul(at(parameters, "lora_B.weight").t()).add(at(parameters, "bias"));
      return y.sub(x.matmul(teacher.t())).square().mean();
    }

    /** The mean loss of the last ten of {@code steps}. */
    double train(Optimizer optimizer, int from, int steps) {
      double sum = 0;
      for (int step = from; step < from + steps; step++) {
        try (var _ = Scope.graph()) {
          parameters.values().forEach(p -> p.mutable_grad().reset());
          Tensor loss = loss(step);
          loss.backward();
          optimizer.step(1);
          sum += step >= from + steps - 10 ? loss.item_double() : 0;
        }
      }
      return sum / 10;
    }

    List<ParameterGroup> groups() {
      return List.of(new ParameterGroup("all", parameters, 0.01, 0.01));
    }
  }

  private static Adam8bit inBytes(Student student, Decay decay, boolean paged) {
    return new Adam8bit(student.groups(), AdamRates.USUAL, decay, _ -> false, paged);
  }

  private static long bytes(Optimizer optimizer) {
    try (var _ = new PointerScope()) {
      return optimizer.state().values().stream().mapToLong(Tensor::nbytes).sum();
    }
  }

  @ParameterizedTest
  @EnumSource(Decay.class)
  void after_fifty_steps_the_loss_is_that_of_32_bits_within_one_percent(Decay decay) {
    var exact = new Student();
    var coarse = new Student();
    try (var adam = new AdamW(exact.groups(), AdamRates.USUAL, decay);
        var adam8 = inBytes(coarse, decay, false)) {

      double want = exact.train(adam, 0, 50);
      double got = coarse.train(adam8, 0, 50);

      assertThat(got).isCloseTo(want, within(0.01 * want));
      // otherwise both could have stood still
      assertThat(want).isLessThan(0.7 * new Student().loss(0).item_double());
    }
  }

  @Test
  void its_state_takes_less_than_three_tenths_of_the_bytes() {
    var exact = new Student();
    var coarse = new Student();
    try (var adam = new AdamW(exact.groups());
        var adam8 = inBytes(coarse, Decay.DECOUPLED, false)) {
      exact.train(adam, 0, 1);
      coarse.train(adam8, 0, 1);

      assertThat((double) bytes(adam8)).isLessThan(0.3 * bytes(adam));
    }
  }

  @Test
  void small_tensors_and_embeddings_take_the_steps_of_32_bits() {
    var exact = new Student();
    var coarse = new Student();
    try (var adam = new AdamW(exact.groups());
        var adam8 =
            new Adam8bit(
                coarse.groups(),
                AdamRates.USUAL,
                Decay.DECOUPLED,
                name -> name.startsWith("lora"),
                false)) {
      exact.train(adam, 0, 5);
      coarse.train(adam8, 0, 5);

      exact.parameters.forEach(
          (name, p) -> assertThat(at(coarse.parameters, name).equal(p)).as(name).isTrue());
      assertThat(adam8.state().keySet()).allMatch(key -> key.matches(".*/(exp_avg(_sq)?|step)"));
    }
  }

  @Test
  void a_state_in_the_hosts_memory_takes_the_same_steps() {
    var near = new Student();
    var far = new Student();
    try (var adam8 = inBytes(near, Decay.DECOUPLED, false);
        var paged = inBytes(far, Decay.DECOUPLED, true)) {
      near.train(adam8, 0, 5);
      far.train(paged, 0, 5);

      near.parameters.forEach(
          (name, p) -> assertThat(at(far.parameters, name).equal(p)).as(name).isTrue());
    }
  }
}
