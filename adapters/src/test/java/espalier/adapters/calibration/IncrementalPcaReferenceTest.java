package espalier.adapters.calibration;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.NativeScope;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.api.extension.RegisterExtension;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * What PEFT's IncrementalPCA knows after each batch; made by src/test/python/incremental_pca.py.
 */
class IncrementalPcaReferenceTest {

  @RegisterExtension final NativeScope scope = NativeScope.open();

  static Stream<Named<JsonNode>> cases() throws IOException {
    try (InputStream in =
        IncrementalPcaReferenceTest.class.getResourceAsStream(
            "/espalier/adapters/incremental_pca.json")) {
      var cases = new ArrayList<Named<JsonNode>>();
      new JsonMapper()
          .readTree(Objects.requireNonNull(in))
          .forEach(each -> cases.add(Named.of(each.get("name").stringValue(), each)));
      return cases.stream();
    }
  }

  private static Tensor vector(JsonNode numbers) {
    double[] values = numbers.valueStream().mapToDouble(JsonNode::doubleValue).toArray();
    return Tensor.create(values, values.length);
  }

  private static Tensor matrix(JsonNode rows) {
    double[] values =
        rows.valueStream()
            .flatMap(JsonNode::valueStream)
            .mapToDouble(JsonNode::doubleValue)
            .toArray();
    return Tensor.create(values, rows.size(), values.length / rows.size());
  }

  @ParameterizedTest
  @MethodSource("cases")
  void after_each_batch_it_knows_what_the_reference_does(JsonNode given) {
    try (var pca = new IncrementalPca(given.get("components").intValue())) {
      List<JsonNode> batches = given.get("batches").valueStream().toList();
      for (JsonNode batch : batches) {
        pca.add(matrix(batch.get("rows")).to(ScalarType.Float));

        // The reference decomposes in float32, exactly; here a subspace of twice the components is
        // looked at, which leaves 1e-3 where singular values are close.
        assertNear(pca.components(), matrix(batch.get("components")), 1e-3);
        assertNear(pca.singularValues(), vector(batch.get("singular_values")), 1e-4);
        assertNear(pca.explainedRatio(), vector(batch.get("explained_ratio")), 1e-4);
        assertNear(pca.mean(), vector(batch.get("mean")), 1e-6);
        assertNear(pca.variance(), vector(batch.get("variance")), 1e-6);
      }
    }
  }

  private static void assertNear(Tensor got, Tensor want, double part) {
    double gap = got.to(ScalarType.Double).sub(want).abs().max().item_double();
    assertThat(gap / want.abs().max().item_double()).isLessThan(part);
  }
}
