package espalier.adapters;

import espalier.nn.Scope;
import org.bytedeco.pytorch.NoGradGuard;
import org.jspecify.annotations.Nullable;
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
  private final @Nullable NoGradGuard guard;

  private NativeScope(Scope scope, @Nullable NoGradGuard guard) {
    this.scope = scope;
    this.guard = guard;
  }

  /** For tests without backward. */
  public static NativeScope open() {
    return new NativeScope(Scope.open(), null);
  }

  /** For tests in which nothing collects gradients. */
  public static NativeScope withoutGradients() {
    return new NativeScope(Scope.open(), new NoGradGuard());
  }

  /** For tests that run backward. */
  public static NativeScope graph() {
    return new NativeScope(Scope.graph(), null);
  }

  @Override
  public void afterEach(ExtensionContext context) {
    if (guard != null) {
      guard.close();
    }
    scope.close();
  }
}
