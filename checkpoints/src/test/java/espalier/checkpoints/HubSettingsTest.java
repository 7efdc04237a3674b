package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class HubSettingsTest {

  @TempDir Path home;

  private HubSettings of(String... pairs) {
    Map<String, String> environment = new HashMap<>();
    environment.put("HOME", home.toString());
    for (int i = 0; i < pairs.length; i += 2) {
      environment.put(pairs[i], pairs[i + 1].replace("HOME", home.toString()));
    }
    return HubSettings.of(environment);
  }

  @Test
  void without_variables_everything_is_where_others_put_it() {
    HubSettings settings = of();

    assertThat(settings.endpoint()).isEqualTo(URI.create("https://huggingface.co"));
    assertThat(settings.cache()).isEqualTo(home.resolve(".cache/huggingface/hub"));
    assertThat(settings.token()).isNull();
    assertThat(settings.offline()).isFalse();
    assertThat(settings.symlinks()).isTrue();
  }

  @ParameterizedTest
  @CsvSource({
    "XDG_CACHE_HOME, HOME/x, , , x/huggingface/hub",
    "HF_HOME, HOME/hf, XDG_CACHE_HOME, HOME/x, hf/hub",
    "HF_HOME, ~/hf, , , hf/hub",
    "HF_HUB_CACHE, HOME/c, HF_HOME, HOME/hf, c",
    "HUGGINGFACE_HUB_CACHE, HOME/old, HF_HOME, HOME/hf, old",
    "HF_HUB_CACHE, HOME/c, HUGGINGFACE_HUB_CACHE, HOME/old, c",
    "HF_HOME, '', XDG_CACHE_HOME, HOME/x, x/huggingface/hub",
  })
  void the_cache_is_where_the_most_particular_variable_says(
      String variable, String value, String other, String otherValue, String expected) {
    HubSettings settings =
        other == null ? of(variable, value) : of(variable, value, other, otherValue);

    assertThat(settings.cache()).isEqualTo(home.resolve(expected));
  }

  @Test
  void the_token_is_the_variables_or_the_files() throws Exception {
    Path file = Files.createDirectories(home.resolve("hf")).resolve("token");
    Files.writeString(file, "hf_file\n");

    assertThat(of("HF_HOME", "HOME/hf").token()).isEqualTo("hf_file");
    assertThat(of("HF_TOKEN_PATH", "HOME/hf/token").token()).isEqualTo("hf_file");
    assertThat(of("HF_HOME", "HOME/hf", "HF_TOKEN", " hf_set ").token()).isEqualTo("hf_set");
    assertThat(of("HF_HOME", "HOME/hf", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "1").token()).isNull();
  }

  @Test
  void a_token_that_cannot_be_one_is_refused_and_not_shown() {
    assertThatThrownBy(() -> of("HF_TOKEN", "hf_a\r\nX-Evil: 1"))
        .isInstanceOf(CheckpointException.class)
        .hasMessage("the token in HF_TOKEN has spaces or letters that no token has; copy it again");
  }

  @ParameterizedTest
  @ValueSource(strings = {"1", "on", "YES", "True"})
  void offline_is_said_in_four_ways(String yes) {
    assertThat(of("HF_HUB_OFFLINE", yes).offline()).isTrue();
    assertThat(of("TRANSFORMERS_OFFLINE", yes).offline()).isTrue();
    assertThat(of("HF_HUB_OFFLINE", "0").offline()).isFalse();
  }

  @Test
  void a_mirror_may_have_a_path_and_a_slash_at_the_end() {
    assertThat(of("HF_ENDPOINT", "https://mirror.example/hf/").endpoint())
        .isEqualTo(URI.create("https://mirror.example/hf"));
  }

  @ParameterizedTest
  @ValueSource(strings = {"mirror.example", "ftp://mirror", "https://", "a b"})
  void an_endpoint_that_is_no_address_is_refused(String value) {
    assertThatThrownBy(() -> of("HF_ENDPOINT", value))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            "HF_ENDPOINT is '%s' but must be an address such as https://hub.example.com"
                .formatted(value));
  }

  @Test
  void the_time_to_wait_is_the_variables() {
    assertThat(of("HF_HUB_DOWNLOAD_TIMEOUT", "7").timeout()).hasSeconds(7);
    assertThatThrownBy(() -> of("HF_HUB_DOWNLOAD_TIMEOUT", "soon"))
        .isInstanceOf(CheckpointException.class)
        .hasMessage("HF_HUB_DOWNLOAD_TIMEOUT is 'soon' but must be a number of seconds");
  }
}
