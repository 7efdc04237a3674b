package espalier.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.tensor;
import static org.bytedeco.pytorch.global.torch.zeros;

import espalier.nn.Scope;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

class SamplerTest {

  private static final Sampling ALL = Sampling.defaults().withTopK(0);

  private final Sampler sampler = new Sampler(new int[] {3, 17});
  private Scope scope = Scope.open();

  @BeforeEach
  void open() {
    scope = Scope.open();
  }

  @AfterEach
  void close() {
    scope.close();
  }

  private static Stream<JsonNode> golden() throws IOException {
    try (InputStream in = SamplerTest.class.getResourceAsStream("sampling-golden.json")) {
      return JsonMapper.shared().readTree(Objects.requireNonNull(in)).get("cases").valueStream();
    }
  }

  // numbers from src/test/python/sampling_golden.py
  @ParameterizedTest
  @MethodSource("golden")
  void the_probabilities_are_those_of_transformers(JsonNode golden) {
    JsonNode expected = golden.get("probabilities");
    var history = new History(sampling(golden.get("settings")), ints(golden.get("prompt")));
    for (int id : ints(golden.get("generated"))) {
      history.add(id);
    }
    float[] logits = floats(golden.get("logits"));

    Tensor scores = sampler.adjusted(tensor(logits).view(1, logits.length), List.of(history));
    Shortlist list =
        Objects.requireNonNull(
            Sampler.candidates(scores, List.of(history), 1000)[0].shortlist(history.sampling()));

    double[] probabilities = new double[logits.length];
    for (int i = 0; i < list.size(); i++) {
      probabilities[list.id(i)] = list.probability(i);
    }
    for (int id = 0; id < probabilities.length; id++) {
      double p = expected.get(id).asDouble();
      assertThat(probabilities[id]).as("token " + id).isCloseTo(p, within(1e-6));
      assertThat(probabilities[id] > 0).as("token " + id + " is kept").isEqualTo(p > 0);
    }
  }

  @Test
  void greedy_takes_the_first_of_equals() {
    Tensor logits = rows(new float[] {1, 5, 2, 5}, new float[] {-1, -2, -1, -3});

    assertThat(sampler.choose(logits, histories(Sampling.greedy(), 2))).containsExactly(1, 0);
  }

  @Test
  void greedy_beside_a_drawn_row_takes_the_first_of_equals_too() {
    Tensor logits = zeros(2, 5000);
    var rows = List.of(history(Sampling.greedy()), history(ALL));

    assertThat(sampler.choose(logits, rows)[0]).isZero();
  }

  @Test
  void tokens_come_as_often_as_they_are_likely() {
    int n = 4000;
    Tensor logits =
        rows(new float[] {(float) Math.log(0.6), (float) Math.log(0.3), (float) Math.log(0.1)})
            .expand(n, 3);
    List<History> rows =
        IntStream.range(0, n).mapToObj(seed -> history(ALL.withSeed(seed))).toList();

    int[] drawn = sampler.choose(logits, rows);

    // four standard deviations of a count
    assertThat(count(drawn, 0)).isCloseTo(2400, within(124));
    assertThat(count(drawn, 1)).isCloseTo(1200, within(116));
    assertThat(count(drawn, 2)).isCloseTo(400, within(76));
  }

  @Test
  void the_same_seed_draws_the_same_tokens_whatever_stands_beside() {
    Tensor wide = rows(ramp(300, 0), ramp(300, 1), ramp(300, 2));
    var alone = history(ALL.withSeed(5));
    var beside = List.of(history(ALL.withSeed(9)), history(ALL.withSeed(5)), history(ALL));

    var first = new ArrayList<Integer>();
    var second = new ArrayList<Integer>();
    for (int step = 0; step < 20; step++) {
      first.add(sampler.choose(rows(ramp(300, 1)), List.of(alone))[0]);
      second.add(sampler.choose(wide, beside)[1]);
    }

    assertThat(second).isEqualTo(first);
    assertThat(first.stream().distinct().count()).isGreaterThan(10);
  }

  @Test
  void a_flat_distribution_is_drawn_from_to_its_end() {
    int n = 200;
    Tensor logits = zeros(n, 5000);
    List<History> rows =
        IntStream.range(0, n).mapToObj(seed -> history(ALL.withSeed(seed))).toList();

    int[] drawn = sampler.choose(logits, rows);

    assertThat(IntStream.of(drawn).average().orElse(0)).isCloseTo(2500, within(4 * 103.0));
    assertThat(IntStream.of(drawn).distinct().count()).isGreaterThan(180);
  }

  @Test
  void candidates_by_and_by_or_all_at_once_draw_the_same() {
    // falls slowly: the nucleus of 0.9 has thousands of tokens
    Tensor logits = rows(ramp(6000, 3));
    Sampling sampling = ALL.withTopP(0.9).withSeed(11);
    Shortlist all =
        Objects.requireNonNull(
            Sampler.candidates(logits, List.of(history(sampling)), 6000)[0].shortlist(sampling));

    int drawn = sampler.choose(logits, List.of(history(sampling)))[0];

    assertThat(all.size()).isGreaterThan(2048);
    assertThat(drawn).isEqualTo(all.draw(history(sampling).next()));
  }

  @Test
  void a_penalised_token_is_no_longer_the_greedy_choice() {
    Sampling sampling = Sampling.greedy().withRepetitionPenalty(1.5);
    Tensor logits = rows(new float[] {3, 2.5f, -1, 0}, new float[] {3, 2.5f, -1, 0});
    var rows =
        List.of(new History(sampling, new int[] {0, 0, 2}), new History(sampling, new int[0]));

    assertThat(sampler.choose(logits, rows)).containsExactly(1, 0);
  }

  @Test
  void the_model_can_not_end_before_the_least_number_of_tokens() {
    Sampling sampling = Sampling.greedy().withMinNewTokens(1);
    History history = history(sampling);
    float[] wantsToEnd = new float[20];
    wantsToEnd[3] = 9;
    wantsToEnd[17] = 8;
    wantsToEnd[6] = 7;

    int first = sampler.choose(rows(wantsToEnd), List.of(history))[0];
    history.add(first);
    int second = sampler.choose(rows(wantsToEnd), List.of(history))[0];

    assertThat(first).isEqualTo(6);
    assertThat(second).isEqualTo(3);
  }

  @Test
  void a_temperature_near_zero_is_nearly_greedy() {
    for (double temperature : new double[] {1e-3, 1e-30, 1e-300}) {
      Tensor logits = rows(ramp(300, 1));
      Sampling cold = ALL.withTemperature(temperature).withTopP(0.9).withMinP(0.1);

      assertThat(sampler.choose(logits, List.of(history(cold))))
          .containsExactly((int) logits.argmax().item_long());
    }
  }

  @Test
  void bfloat16_logits_are_chosen_from_in_float32() {
    Tensor logits = rows(new float[] {0, 1, 2}).to(ScalarType.BFloat16);

    assertThat(sampler.choose(logits, List.of(history(ALL.withTopK(1))))).containsExactly(2);
  }

  @Test
  void logits_that_are_not_numbers_are_refused() {
    for (Sampling sampling : List.of(Sampling.greedy(), ALL)) {
      Tensor logits = rows(new float[] {0, Float.NaN, 1});

      assertThatThrownBy(() -> sampler.choose(logits, List.of(history(sampling))))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage(
              "the model's largest logit is NaN, so no token can be chosen; weights or an adapter"
                  + " are not finite, or a half-precision run overflowed: try another dtype or"
                  + " adapter");
    }
  }

  private static Tensor rows(float[]... rows) {
    float[] all = new float[rows.length * rows[0].length];
    for (int row = 0; row < rows.length; row++) {
      System.arraycopy(rows[row], 0, all, row * rows[row].length, rows[row].length);
    }
    return tensor(all).view(rows.length, rows[0].length);
  }

  private static float[] ramp(int size, int shift) {
    float[] ramp = new float[size];
    for (int i = 0; i < size; i++) {
      ramp[i] = -((i * 7 + shift) % size) * 3f / size;
    }
    return ramp;
  }

  private static History history(Sampling sampling) {
    return new History(sampling, new int[0]);
  }

  private static List<History> histories(Sampling sampling, int rows) {
    return Stream.generate(() -> history(sampling)).limit(rows).toList();
  }

  private static int count(int[] all, int id) {
    return (int) IntStream.of(all).filter(i -> i == id).count();
  }

  private static Sampling sampling(JsonNode s) {
    return new Sampling(
        s.path("temperature").asDouble(1),
        s.path("topK").asInt(0),
        s.path("topP").asDouble(1),
        s.path("minP").asDouble(0),
        s.path("repetitionPenalty").asDouble(1),
        0,
        256,
        s.path("minNewTokens").asInt(0),
        List.of());
  }

  private static int[] ints(JsonNode list) {
    return list.valueStream().mapToInt(JsonNode::asInt).toArray();
  }

  private static float[] floats(JsonNode list) {
    float[] values = new float[list.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) list.get(i).asDouble();
    }
    return values;
  }
}
