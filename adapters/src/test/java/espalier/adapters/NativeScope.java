package espalier.adapters;

import espalier.nn.Scope;
import org.junit.jupiter.api.extension.AfterEachCallback;
import org.junit.jupiter.api.extension.ExtensionContext;

/**
 * The native memory of one test: open from where the field stands, closed after the test.
 *
 * <pre>{@code
 * @RegisterExtension final NativeScope scope = NativeScope.graph();
 * }</pre>
 */
public final class NativeScope implements AfterEachCallback {

  private final Scope scope;

  private NativeScope(Scope scope) {
    this.scope = scope;
  }

  /** For tests without gradients. */
  public static NativeScope open() {
    return new NativeScope(Scope.open());
  }

  /** For tests that run backward. */
  public static NativeScope graph() {
    return new NativeScope(Scope.graph());
  }

  @Override
  public void afterEach(ExtensionContext context) {
    scope.close();
  }
}
