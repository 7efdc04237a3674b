package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.serving.Sampling;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;

class SamplingOptionsTest {

  private static Sampling of(String... arguments) {
    var options = new SamplingOptions();
    new CommandLine(new Holder(options)).parseArgs(arguments);
    return options.sampling();
  }

  @CommandLine.Command
  private record Holder(@CommandLine.Mixin SamplingOptions options) {}

  @Test
  void without_options_the_most_likely_token_is_taken() {
    assertThat(of().isGreedy()).isTrue();
  }

  @Test
  void a_setting_of_the_draw_turns_the_draw_on() {
    assertThat(of("--top-p", "0.9").temperature()).isEqualTo(1);
  }

  @Test
  void a_temperature_of_zero_stays_zero() {
    assertThat(of("--temperature", "0", "--seed", "7").isGreedy()).isTrue();
  }

  @Test
  void stop_texts_add_up() {
    assertThat(of("--stop", "a", "--stop", "b").stop()).containsExactly("a", "b");
  }
}
