package espalier.adapters.lora;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.BiasTraining;
import espalier.adapters.ConfigHead;
import espalier.adapters.Modules;
import espalier.adapters.OneOrMany;
import espalier.adapters.Targets;
import espalier.adapters.TaskType;
import espalier.adapters.TokenRows;
import espalier.adapters.catalog.AdapterCatalog;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Supplier;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ObjectNode;

/** Random settings go to a file, as text, and come back the same. */
class LoraRoundTripTest {

  private static final JsonMapper JSON = new JsonMapper();

  private final Random draw = new Random(5);

  private boolean sometimes() {
    return draw.nextInt(3) == 0;
  }

  private <T> T oneOf(List<Supplier<T>> choices) {
    return choices.get(draw.nextInt(choices.size())).get();
  }

  private <T> T anyOf(T[] values) {
    return List.of(values).get(draw.nextInt(values.length));
  }

  private double number() {
    return draw.nextBoolean() ? draw.nextInt(1, 64) : draw.nextDouble() * 1e3;
  }

  private List<String> names() {
    return IntStream.range(0, draw.nextInt(1, 4))
        .mapToObj(_ -> "m" + draw.nextInt(9) + (sometimes() ? ".q_proj" : "é"))
        .distinct()
        .toList();
  }

  private List<Integer> integers() {
    return IntStream.range(0, draw.nextInt(1, 4)).mapToObj(_ -> draw.nextInt(99)).toList();
  }

  private <T> Map<String, T> byPath(Supplier<T> value) {
    var map = new LinkedHashMap<String, T>();
    names().forEach(name -> map.put("^" + name, value.get()));
    return map;
  }

  private Targets targets() {
    Targets targets =
        oneOf(
            List.of(
                () -> Targets.named(names().toArray(String[]::new)),
                () -> Targets.matching(".*\\.(q|k)_\\d+"),
                Targets::allLinear,
                Targets::byArchitecture));
    boolean list = targets.modules() instanceof Modules.Named;
    if (list && sometimes()) {
      targets =
          targets.withLayers(
              oneOf(
                  List.of(() -> OneOrMany.one(draw.nextInt(9)), () -> OneOrMany.many(integers()))),
              oneOf(List.of(() -> OneOrMany.one("layers"), () -> OneOrMany.many(names()))));
    }
    if (sometimes()) {
      targets =
          targets.withExclude(
              oneOf(
                  List.of(
                      () -> new Modules.Named(names()), () -> new Modules.Matching("a|b\\.c"))));
    }
    if (sometimes()) {
      targets = targets.saving(names().toArray(String[]::new));
    }
    if (sometimes()) {
      targets = targets.withParameters(names());
    }
    return targets.withFanInFanOut(draw.nextBoolean());
  }

  private ConfigHead head() {
    ConfigHead head = ConfigHead.empty().withInferenceMode(true);
    if (sometimes()) {
      head = head.withTaskType(TaskType.CAUSAL_LM);
    }
    if (sometimes()) {
      head = head.withBaseModel("some/model").withRevision("v" + draw.nextInt(9));
    }
    return head;
  }

  private LoraInit init() {
    return oneOf(
        List.of(
            LoraInit.Uniform::new,
            LoraInit.Unset::new,
            LoraInit.Gaussian::new,
            LoraInit.Pissa::new,
            () -> new LoraInit.FastPissa(draw.nextInt(20)),
            LoraInit.Olora::new,
            () ->
                new LoraInit.Corda(
                    sometimes() ? "cache" : null,
                    sometimes() ? "covariance" : null,
                    draw.nextBoolean(),
                    draw.nextBoolean(),
                    draw.nextBoolean(),
                    draw.nextBoolean()),
            () ->
                new LoraInit.Eva(
                    1 + draw.nextDouble(),
                    draw.nextDouble(),
                    draw.nextBoolean(),
                    -draw.nextInt(200),
                    draw.nextBoolean(),
                    draw.nextBoolean()),
            () -> new LoraInit.Loftq(draw.nextBoolean() ? 4 : 8, draw.nextInt(1, 5)),
            () ->
                new LoraInit.LoraGa(
                    anyOf(LoraInit.Direction.values()),
                    anyOf(LoraInit.Scale.values()),
                    draw.nextInt(1, 32))));
  }

  private LoraVariant variant() {
    return oneOf(
        List.of(
            LoraVariant.Plain::new,
            LoraVariant.Plain::new,
            LoraVariant.Dora::new,
            () ->
                new LoraVariant.Velora(
                    draw.nextInt(1, 99), draw.nextDouble() + 1e-3, "batch_average_once"),
            () ->
                new LoraVariant.Monteclora(
                    draw.nextInt(1, 9),
                    draw.nextBoolean(),
                    draw.nextDouble() + 1e-3,
                    draw.nextDouble(),
                    draw.nextDouble(),
                    draw.nextInt(1, 200)),
            () ->
                new LoraVariant.Arrow(
                    draw.nextInt(1, 5),
                    draw.nextDouble() + 0.1,
                    draw.nextBoolean(),
                    sometimes() ? null : (Integer) draw.nextInt(),
                    names(),
                    sometimes() ? null : names()),
            () -> new LoraVariant.Kasa(draw.nextDouble(), draw.nextDouble())));
  }

  private LoraConfig config() {
    LoraVariant variant = variant();
    LoraConfigBuilder config =
        LoraConfig.builder()
            .head(head())
            .targets(targets())
            .r(draw.nextInt(1, 256))
            .alpha(number())
            .dropout(draw.nextDouble())
            .rankPattern(byPath(() -> draw.nextInt(1, 64)))
            .alphaPattern(byPath(this::number))
            .rslora(draw.nextBoolean())
            .init(init())
            .variant(variant)
            .bias(anyOf(BiasTraining.values()))
            .ensureWeightTying(draw.nextBoolean())
            .qaloraGroupSize(draw.nextInt(1, 64));
    if (sometimes()) {
      config.tokens(
          draw.nextBoolean()
              ? new TokenRows.OfInput(integers())
              : new TokenRows.OfLayers(byPath(this::integers)));
    }
    if (sometimes()) {
      config.layerReplication(List.of(List.of(0, draw.nextInt(1, 9)), List.of(2, 5)));
    }
    if (!(variant instanceof LoraVariant.Dora) && sometimes()) {
      config.megatron(new Megatron(JSON.readTree("{\"a\": [1, {\"b\": null}]}"), "megatron.own"));
    }
    return config.build();
  }

  @Test
  void what_is_written_is_read_as_the_same_and_written_again_as_the_same() {
    AdapterCatalog catalog = AdapterCatalog.standard();
    for (int i = 0; i < 500; i++) {
      LoraConfig config = config();
      String written = JSON.writeValueAsString(catalog.write(config));

      var read = catalog.read((ObjectNode) JSON.readTree(written));

      assertThat(read.config()).as(written).isEqualTo(config);
      assertThat(JSON.writeValueAsString(catalog.write(read.config()))).isEqualTo(written);
    }
  }
}
