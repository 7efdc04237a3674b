package espalier.parity;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.Model;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * The models without any adapter: one test a model, against the base logits and losses of all its
 * cases, also of those whose method is still to come.
 */
final class BaseModelTest {

  @TestFactory
  Stream<DynamicTest> models() {
    var byModel = new TreeMap<Path, List<Case>>();
    for (Path folder : CasesFolder.fromProperties().folders()) {
      Case golden = Case.in(folder);
      if (List.of("model", "mixed").contains(golden.json().path("kind").asString())) {
        byModel.computeIfAbsent(golden.model(), _ -> new ArrayList<>()).add(golden);
      }
    }
    return byModel.entrySet().stream()
        .map(
            entry ->
                dynamicTest(
                    CasesFolder.nameOf(entry.getKey()),
                    () -> check(entry.getKey(), entry.getValue())));
  }

  private static void check(Path folder, List<Case> cases) {
    try (var _ = Scope.graph();
        var _ = new NoGradGuard();
        PretrainedModel pretrained = GoldenModel.load(folder)) {
      Model model = pretrained.model();
      for (Case golden : cases) {
        Map<String, Tensor> batch = golden.tensors("inputs.safetensors");
        var got = new LinkedHashMap<String, Tensor>();
        Tensor logits = model.logits(GoldenModel.inputs(batch));
        got.put("base_logits", logits);
        got.put("base_loss", GoldenModel.loss(model.task(), logits, batch));
        Map<String, Tensor> expected = golden.expected();
        expected.keySet().retainAll(got.keySet());

        assertThat(new Judge(golden).faults(expected, got)).as(golden.name()).isEmpty();
      }
    }
  }
}
