package espalier.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class SamplingTest {

  private static Stream<Arguments> mistakes() {
    return Stream.of(
        mistake(
            s -> s.withTemperature(-1),
            "temperature is -1.0 but must be 0 or more and finite; 0 takes the most likely token"
                + " always"),
        mistake(
            s -> s.withTemperature(Double.NaN),
            "temperature is NaN but must be 0 or more and finite; 0 takes the most likely token"
                + " always"),
        mistake(s -> s.withTopK(-5), "topK is -5 but must be 0 or more; 0 turns it off"),
        mistake(s -> s.withTopP(1.5), "topP is 1.5 but must lie in [0, 1]; 1 turns it off"),
        mistake(s -> s.withMinP(-0.1), "minP is -0.1 but must lie in [0, 1]; 0 turns it off"),
        mistake(
            s -> s.withRepetitionPenalty(0),
            "repetitionPenalty is 0.0 but must be more than 0 and finite; 1 turns it off"),
        mistake(s -> s.withMaxNewTokens(0), "maxNewTokens is 0 but must be 1 or more"),
        mistake(
            s -> s.withMaxNewTokens(5).withMinNewTokens(6),
            "minNewTokens is 6 but must be from 0 to maxNewTokens, which is 5; raise maxNewTokens"
                + " or lower it"),
        mistake(
            s -> s.withStop(".", ""),
            "stop holds an empty text, which would end every row at once; leave it out"));
  }

  private static Arguments mistake(UnaryOperator<Sampling> change, String message) {
    return Arguments.of(change, message);
  }

  @ParameterizedTest
  @MethodSource("mistakes")
  void a_value_out_of_range_is_refused_with_the_way_out(
      UnaryOperator<Sampling> change, String message) {
    assertThatThrownBy(() -> change.apply(Sampling.defaults()))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(message);
  }

  @Test
  void each_setting_is_changed_alone() {
    Sampling changed =
        Sampling.greedy()
            .withTemperature(0.5)
            .withTopK(1)
            .withTopP(0.25)
            .withMinP(0.125)
            .withRepetitionPenalty(2)
            .withSeed(3)
            .withMaxNewTokens(5)
            .withMinNewTokens(4)
            .withStop("x");

    assertThat(changed).isEqualTo(new Sampling(0.5, 1, 0.25, 0.125, 2, 3, 5, 4, List.of("x")));
  }

  @Test
  void only_temperature_zero_is_greedy() {
    assertThat(Sampling.greedy().isGreedy()).isTrue();
    assertThat(Sampling.defaults().isGreedy()).isFalse();
  }
}
