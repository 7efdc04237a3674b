package espalier.recipes;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Scope;
import espalier.text.Example;
import espalier.training.Batch;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Examples that begin alike teach in one row what they teach one by one. */
class SharedBeginningsTest {

  private static final List<Example> EXAMPLES =
      List.of(
          example(3, 5, 9, 7, 3, 11, 12),
          example(3, 5, 9, 7, 4, 20),
          example(3, 5, 9, 7, 4, 21, 22, 23),
          example(1, 5, 9, 7, 4),
          example(2, 8, 9, 10));

  private static Example example(int firstLearned, int... ids) {
    int[] labels = ids.clone();
    java.util.Arrays.fill(labels, 0, firstLearned, Example.IGNORED);
    return new Example(ids, labels);
  }

  private static PretrainedModel with(String model, String config) {
    var loaded = PretrainedModel.load(Path.of("../parity/models/" + model), ScalarType.Float);
    loaded.attach("default", loaded.catalog().read(RecipeFile.tree(config)).config(), 1);
    try (var _ = new PointerScope();
        var _ = new org.bytedeco.pytorch.NoGradGuard()) {
      torch.manual_seed(4);
      loaded.adapters().parameters().values().forEach(p -> p.normal_(0, 0.1, none()));
    }
    return loaded;
  }

  private static org.bytedeco.pytorch.GeneratorOptional none() {
    return new org.bytedeco.pytorch.GeneratorOptional();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{peft_type: LORA, r: 2, target_modules: all-linear}",
        "{peft_type: LORA, r: 2, use_dora: true, target_modules: all-linear}",
        "{peft_type: HIRA, r: 2, target_modules: all-linear}",
        "{peft_type: GRALORA, r: 2, gralora_k: 2, target_modules: all-linear}",
        "{peft_type: SHIRA, r: 2, target_modules: all-linear}"
      })
  void the_loss_and_every_gradient_are_those_of_padded_rows(String config) {
    try (var _ = Scope.open();
        PretrainedModel model = with("llama", config)) {
      var trainee = new CausalTrainee(model.model(), model.adapters());
      assertThat(trainee.sharesTokens()).isTrue();
      Batch sharing = Batch.sharing(EXAMPLES, 16, 0);
      assertThat(sharing.rows()).isOne();

      Map<String, Tensor> wanted = loss(trainee, Batch.padded(EXAMPLES, 0));
      Map<String, Tensor> found = loss(trainee, sharing);

      assertThat(found.keySet()).isEqualTo(wanted.keySet());
      wanted.forEach(
          (name, tensor) ->
              assertThat(
                      Objects.requireNonNull(found.get(name)).allclose(tensor, 2e-4, 2e-5, false))
                  .as(name)
                  .isTrue());
    }
  }

  /** The loss and the gradients, by the parameters' names. */
  private static Map<String, Tensor> loss(CausalTrainee trainee, Batch batch) {
    var all = new LinkedHashMap<String, Tensor>();
    Tensor loss =
        Scope.result(
            () -> {
              try (var _ = Scope.graph()) {
                Tensor sum = trainee.lossSum(batch);
                sum.backward();
                return Scope.own(sum.detach().clone());
              }
            });
    all.put("loss", loss);
    trainee
        .parameters()
        .forEach(
            (name, parameter) -> {
              all.put(name, parameter.grad().clone());
              parameter.mutable_grad().reset();
            });
    return all;
  }

  @Test
  void adapters_that_wait_for_tokens_keep_their_examples_apart() {
    String config =
        "{peft_type: LORA, r: 2, alora_invocation_tokens: [9, 7], target_modules: [q_proj]}";
    try (PretrainedModel model = with("llama", config)) {
      assertThat(new CausalTrainee(model.model(), model.adapters()).sharesTokens()).isFalse();
    }
  }
}
