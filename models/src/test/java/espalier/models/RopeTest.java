package espalier.models;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import espalier.nn.Native;
import espalier.nn.Scope;
import java.util.Map;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

class RopeTest {

  static {
    Native.prepare();
  }

  static Stream<String> golden() {
    return all().propertyNames().stream();
  }

  private static JsonNode all() {
    return JsonMapper.shared().readTree(Fixtures.golden("rope.json").toFile());
  }

  /** Numbers of transformers' rope functions, from {@code src/test/python/golden.py}. */
  @ParameterizedTest
  @MethodSource("golden")
  void frequencies_are_those_of_the_reference(String name) {
    JsonNode expected = all().get(name);
    int positions = expected.get("max_position_embeddings").asInt();
    var fields =
        new ConfigFields(
            "llama",
            Map.of("rope_parameters", Fixtures.map(expected.get("rope_parameters").toString())));

    Rope rope = RopeFields.of(fields, 32, positions, 10000);

    assertThat(rope.attentionFactor())
        .isCloseTo(expected.get("attention_factor").asDouble(), within(1e-12));
    try (var _ = Scope.open()) {
      Tensor frequencies = rope.frequencies(expected.get("length").asLong(), new Device("cpu"));
      assertThat(frequencies.numel()).isEqualTo(16);
      for (int i = 0; i < 16; i++) {
        double wanted = expected.get("frequencies").get(i).asDouble();
        // bit for bit, but for what the vector units of another machine round differently
        assertThat(frequencies.get(i).item_double()).isCloseTo(wanted, within(wanted * 2e-7));
      }
    }
  }

  @Test
  void the_older_spelling_means_the_same() {
    var older =
        new ConfigFields(
            "llama",
            Map.of("rope_theta", 5e5, "rope_scaling", Map.of("type", "linear", "factor", 4.0)));
    var newer =
        new ConfigFields(
            "llama",
            Map.of(
                "rope_parameters",
                Map.of("rope_type", "linear", "factor", 4.0, "rope_theta", 5e5)));

    assertThat(RopeFields.of(older, 32, 64, 1e4)).isEqualTo(RopeFields.of(newer, 32, 64, 1e4));
  }

  @Test
  void a_rotation_back_undoes_a_rotation() {
    try (var _ = Scope.graph()) {
      Tensor x = Tensor.create(new float[] {1, 2, 3, 4, 5, 6, 7, 8}, 1, 2, 1, 4);
      x.set_requires_grad(true);
      var rope = new Rope(10, 4, new RopeScaling.None(), 8);
      Tensor positions = Fixtures.ids(new long[] {3, 7});
      Rotation rotation = Rotation.of(rope, positions, 8, x.scalar_type().intern());

      Tensor turned = rotation.apply(x);
      turned.mul(turned.detach()).sum().backward();

      // a rotation's gradient is the rotation back
      assertThat(Fixtures.distance(x.grad(), x)).isLessThan(1e-5);
    }
  }
}
