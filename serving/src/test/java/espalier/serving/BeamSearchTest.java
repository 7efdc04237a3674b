package espalier.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.nn.Rows;
import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.junit.jupiter.params.provider.ValueSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * Answers that are likely as a whole; those of transformers are made by
 * src/test/python/beams_golden.py.
 */
class BeamSearchTest {

  private static final List<Integer> ENDS =
      Stream.concat(Stream.of(2), Stream.iterate(5, id -> id < 128, id -> id + 9)).toList();
  private static final Prompt A = Prompt.of(69, 57, 23, 30, 61, 125, 4);
  private static final Prompt B = Prompt.of(24, 115, 100);
  private static final Prompt C = Prompt.of(25);
  private static final Sampling TEN = Sampling.greedy().withMaxNewTokens(10);
  private static final Beams THREE = Beams.of(3);

  private static Stream<Arguments> searches() throws IOException {
    try (InputStream in = BeamSearchTest.class.getResourceAsStream("beams-golden.json")) {
      return JsonMapper.shared()
          .readTree(Objects.requireNonNull(in))
          .valueStream()
          .map(each -> Arguments.of(name(each), each));
    }
  }

  private static String name(JsonNode golden) {
    return "%s, %s beams, length penalty %s, early stopping %s, repetition penalty %s, at least %s"
        .formatted(
            golden.get("family").asString(),
            golden.get("num_beams"),
            golden.get("length_penalty"),
            golden.get("early_stopping"),
            golden.path("repetition_penalty"),
            golden.path("min_new_tokens"));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("searches")
  void a_batch_of_unequal_prompts_finds_what_transformers_finds(String name, JsonNode golden)
      throws IOException {
    String early = golden.get("early_stopping").asString().toUpperCase(Locale.ROOT);
    var beams =
        new Beams(
            golden.get("num_beams").asInt(),
            golden.get("length_penalty").asDouble(),
            EarlyStopping.valueOf(early));
    Sampling sampling =
        TEN.withRepetitionPenalty(golden.path("repetition_penalty").asDouble(1))
            .withMinNewTokens(golden.path("min_new_tokens").asInt(0));
    List<Prompt> prompts = rows(golden.get("prompts")).map(Prompt::of).toList();

    try (var tiny = tiny(golden.get("family").asString(), golden.get("ends"))) {
      assertThat(tiny.generator().generate(prompts, sampling, beams))
          .as(name)
          .extracting(Generation::ids)
          .containsExactly(rows(golden.get("answers")).toArray(int[][]::new));
    }
  }

  private static TinyModel tiny(String family, JsonNode ends) throws IOException {
    return new TinyModel(family, ends.valueStream().map(JsonNode::asInt).toList());
  }

  private static Stream<int[]> rows(JsonNode rows) {
    return rows.valueStream().map(row -> row.valueStream().mapToInt(JsonNode::asInt).toArray());
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "t5"})
  void one_beam_takes_the_most_likely_token_always(String family) throws IOException {
    try (var tiny = new TinyModel(family, ENDS)) {
      Generator generator = tiny.generator();

      assertThat(generator.generate(List.of(A, B), TEN, Beams.of(1)))
          .isEqualTo(generator.generate(List.of(A, B), TEN));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "gemma3_text", "opt", "t5"})
  void rows_of_several_adapters_find_what_each_adapter_finds_alone(String family)
      throws IOException {
    try (var tiny = new TinyModel(family, ENDS)) {
      tiny.attach("french", 1);
      tiny.attach("legal", 2);
      Generator generator = tiny.generator();
      List<Prompt> mixed = List.of(A.with("french"), B.with(Rows.BASE), C.with("legal"));

      List<Generation> together = generator.generate(mixed, TEN, THREE);

      tiny.activate("french");
      assertThat(together.get(0)).isEqualTo(generator.generate(List.of(A), TEN, THREE).getFirst());
      tiny.activate("legal");
      assertThat(together.get(2)).isEqualTo(generator.generate(List.of(C), TEN, THREE).getFirst());
      tiny.activate();
      assertThat(together.get(1)).isEqualTo(generator.generate(List.of(B), TEN, THREE).getFirst());
    }
  }

  @Test
  void an_adapter_changes_what_is_found() throws IOException {
    try (var tiny = new TinyModel("llama", ENDS)) {
      tiny.attach("french", 1);

      List<Generation> found =
          tiny.generator().generate(List.of(A.with("french"), A.with(Rows.BASE)), TEN, THREE);

      assertThat(found.get(0)).isNotEqualTo(found.get(1));
    }
  }

  @Test
  void an_answer_ends_with_an_end_token_or_at_its_length() throws IOException {
    try (var tiny = new TinyModel("llama", ENDS)) {
      List<Generation> answers =
          tiny.generator().generate(List.of(A, B, C), TEN, THREE.withLengthPenalty(-1));
      Generation cut =
          tiny.generator().generate(List.of(A), TEN.withMaxNewTokens(1), THREE).getFirst();

      assertThat(answers)
          .allSatisfy(
              answer -> {
                assertThat(answer.reason()).isEqualTo(FinishReason.END);
                assertThat(ENDS).contains(answer.ids()[answer.ids().length - 1]);
              });
      assertThat(cut.ids()).hasSize(1);
    }
  }

  @Test
  void a_stop_string_ends_an_answer_before_it() throws IOException {
    try (var tiny = new TinyModel("llama")) {
      Generator generator = tiny.generator();
      Generation whole = generator.generate(List.of(A), TEN, THREE).getFirst();
      String stop = whole.text().substring(1, 2);

      Generation stopped =
          generator.generate(List.of(A), TEN.withStop(stop), THREE.withLengthPenalty(0)).getFirst();

      assertThat(stopped.text()).doesNotContain(stop);
      assertThat(stopped.reason()).isIn(FinishReason.STOP_STRING, FinishReason.LENGTH);
      assertThat(
              generator
                  .generate(List.of(A), TEN.withStop(everything()), Beams.of(2))
                  .getFirst()
                  .ids())
          .hasSize(1);
    }
  }

  /** Every character that the tokenizer has a token for: an answer ends with its first token. */
  private static List<String> everything() {
    return IntStream.range(10, 127).mapToObj(Character::toString).toList();
  }

  @Test
  void an_interrupt_ends_all_rows_with_what_was_found() throws IOException {
    try (var tiny = new TinyModel("llama")) {
      Thread.currentThread().interrupt();

      List<Generation> cut = tiny.generator().generate(List.of(A, B), TEN, THREE);

      assertThat(Thread.interrupted()).isTrue();
      assertThat(cut).extracting(Generation::reason).containsOnly(FinishReason.CANCELLED);
      assertThat(cut).allSatisfy(each -> assertThat(each.ids()).hasSize(1));
    }
  }

  @Test
  void more_beams_than_the_vocabulary_has_tokens_are_filled_up() throws IOException {
    try (var tiny = new TinyModel("llama", List.of(2))) {
      Generation answer =
          tiny.generator().generate(List.of(C), TEN.withMaxNewTokens(2), Beams.of(130)).getFirst();

      assertThat(answer.ids()).hasSizeBetween(1, 2);
    }
  }

  @Test
  void wrong_settings_are_refused() throws IOException {
    assertThatThrownBy(() -> Beams.of(0))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("the number of beams is 0 but must be 1 or more; 4 is usual");
    assertThatThrownBy(() -> THREE.withLengthPenalty(Double.NaN))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "lengthPenalty is NaN but must be finite; 1 is usual, 0 does not look at the length");
    try (var tiny = new TinyModel("llama")) {
      assertThatThrownBy(
              () -> tiny.generator().generate(List.of(A), TEN.withTemperature(0.5), THREE))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(
              "temperature is 0.5 but a search along beams draws nothing; set it to 0, or leave the"
                  + " beams out");
    }
  }
}
