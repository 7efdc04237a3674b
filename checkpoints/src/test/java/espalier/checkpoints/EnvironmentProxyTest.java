package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.URI;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class EnvironmentProxyTest {

  private static final URI HUB = URI.create("https://hub.example.com/x");

  private static Proxy proxy(URI uri, Map<String, String> environment) {
    return new EnvironmentProxy(environment).select(uri).getFirst();
  }

  private static Proxy at(String host, int port) {
    return new Proxy(Proxy.Type.HTTP, InetSocketAddress.createUnresolved(host, port));
  }

  @Test
  void the_proxy_is_the_one_for_the_scheme_in_small_letters_or_large() {
    assertThat(proxy(HUB, Map.of("HTTPS_PROXY", "http://p:3128"))).isEqualTo(at("p", 3128));
    assertThat(proxy(HUB, Map.of("https_proxy", "p:3128/"))).isEqualTo(at("p", 3128));
    assertThat(proxy(HUB, Map.of("ALL_PROXY", "http://p"))).isEqualTo(at("p", 80));
    assertThat(proxy(HUB, Map.of("HTTP_PROXY", "http://p:1"))).isEqualTo(Proxy.NO_PROXY);
    assertThat(proxy(URI.create("http://a/"), Map.of("HTTP_PROXY", "http://p:1")))
        .isEqualTo(at("p", 1));
  }

  @ParameterizedTest
  @CsvSource({
    "hub.example.com, true",
    "example.com, true",
    ".example.com, true",
    "'a, *.example.com', true",
    "*, true",
    "ample.com, false",
    "'', false"
  })
  void hosts_may_be_left_out(String noProxy, boolean left) {
    Proxy chosen = proxy(HUB, Map.of("HTTPS_PROXY", "http://p:3128", "NO_PROXY", noProxy));

    assertThat(chosen.equals(Proxy.NO_PROXY)).isEqualTo(left);
  }

  @Test
  void a_proxy_that_is_no_address_is_refused_without_its_password() {
    assertThatThrownBy(() -> proxy(HUB, Map.of("HTTPS_PROXY", "http://me:secret@bad host:1")))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            "the proxy of the environment is 'http://…@bad host:1' but must be an address such as"
                + " http://proxy:3128");
  }
}
