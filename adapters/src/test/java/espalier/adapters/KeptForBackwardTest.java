package espalier.adapters;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.abba.AbbaConfig;
import espalier.adapters.adalora.AdaloraConfig;
import espalier.adapters.gralora.GraloraConfig;
import espalier.adapters.hira.HiraConfig;
import espalier.adapters.hirasb.HiraSbConfig;
import espalier.adapters.loha.LohaConfig;
import espalier.adapters.lokr.LokrConfig;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.miss.MissConfig;
import espalier.adapters.shira.ShiraConfig;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What the methods keep between forward and backward, counted in bytes. */
class KeptForBackwardTest {

  private static final int ROWS = 64;
  private static final int WIDTH = 96;

  static Stream<Named<AdapterConfig>> methods() {
    return Stream.<AdapterConfig>of(
            LoraConfig.defaults(),
            HiraConfig.defaults(),
            GraloraConfig.defaults(),
            ShiraConfig.defaults(),
            AbbaConfig.defaults(),
            AdaloraConfig.defaults(100),
            MissConfig.defaults(),
            LohaConfig.defaults(),
            LokrConfig.defaults(),
            HiraSbConfig.defaults())
        .map(config -> Named.of(config.peftType(), config));
  }

  @ParameterizedTest(name = "{0} keeps nothing of the size of the weight or of the input beside x")
  @MethodSource("methods")
  void between_forward_and_backward_a_method_keeps_its_input_alone(AdapterConfig config) {
    var draw = new Tree.Draw(3);
    try (var graph = Scope.graph();
        var layer = new Linear(draw.normal(WIDTH, WIDTH), null)) {
      Init init =
          Init.shared(1).withPrepared(Map.of(HiraSbConfig.GRADIENT, draw.normal(WIDTH, WIDTH)));
      Adapter adapter = config.create(layer, "layer", init);
      adapter.trainable(true);
      layer.adapters().attach("one", adapter);
      layer.adapters().activate(List.of("one"));
      layer.train(true);
      Tensor x = draw.normal(ROWS, WIDTH).set_requires_grad(true);
      var there = new ArrayList<Tensor>(List.of(x, layer.weight()));
      there.addAll(adapter.parameters().values());
      there.addAll(adapter.constants().values());

      Tensor loss = layer.forward(x).sum();

      long small = 4L * ROWS * WIDTH; // one activation; the weight is about as large
      assertThat(graph.keptBytes(there)).isLessThan(small);
      loss.backward();
      assertThat(graph.keptBytes(there)).isZero();
    }
  }
}
