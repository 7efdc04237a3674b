package espalier.checkpoints;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.SocketAddress;
import java.net.URI;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * The proxy that {@code HTTPS_PROXY}, {@code HTTP_PROXY}, {@code ALL_PROXY} and {@code NO_PROXY}
 * name, as command-line tools read them. The JDK knows only its own properties; they are asked
 * where the environment says nothing.
 */
final class EnvironmentProxy extends ProxySelector {

  private final Map<String, String> environment;

  EnvironmentProxy(Map<String, String> environment) {
    this.environment = environment;
  }

  @Override
  public List<Proxy> select(URI uri) {
    String proxy = variable(uri.getScheme() + "_proxy");
    if (proxy == null) {
      proxy = variable("all_proxy");
    }
    if (proxy == null) {
      ProxySelector jdk = ProxySelector.getDefault();
      return jdk == null ? List.of(Proxy.NO_PROXY) : jdk.select(uri);
    }
    return excluded(uri.getHost()) ? List.of(Proxy.NO_PROXY) : List.of(proxy(proxy));
  }

  private static Proxy proxy(String value) {
    try {
      URI uri = URI.create(value.contains("://") ? value : "http://" + value);
      if (uri.getHost() != null) {
        int port = uri.getPort() < 0 ? 80 : uri.getPort();
        return new Proxy(Proxy.Type.HTTP, InetSocketAddress.createUnresolved(uri.getHost(), port));
      }
    } catch (IllegalArgumentException _) {
      // reported as an address without a host is
    }
    throw new CheckpointException(
        "the proxy of the environment is '%s' but must be an address such as http://proxy:3128"
            .formatted(value.replaceAll("//.*@", "//…@")));
  }

  private boolean excluded(String host) {
    String list = variable("no_proxy");
    if (list == null) {
      return false;
    }
    for (String entry : list.split("[,\\s]+", -1)) {
      String name = entry.replaceFirst("^\\*?\\.", "").toLowerCase(Locale.ROOT);
      String lower = host.toLowerCase(Locale.ROOT);
      if (name.equals("*")
          || (!name.isEmpty() && (lower.equals(name) || lower.endsWith("." + name)))) {
        return true;
      }
    }
    return false;
  }

  private @Nullable String variable(String name) {
    String lower = environment.get(name);
    String value = lower != null ? lower : environment.get(name.toUpperCase(Locale.ROOT));
    return value == null || value.isBlank() ? null : value.strip();
  }

  @Override
  public void connectFailed(URI uri, SocketAddress address, IOException e) {}
}
