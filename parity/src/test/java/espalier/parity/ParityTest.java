package espalier.parity;

import static org.junit.jupiter.api.Assertions.fail;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.List;
import java.util.logging.Level;
import java.util.logging.Logger;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.opentest4j.TestAbortedException;

/**
 * Every case of golden numbers that the reference library computed, one test a case. How the cases
 * were made is in {@code generate.py} and {@code README.md} beside this module's pom.
 *
 * <p>{@code -Dparity.cases=DIR} takes the cases of another folder, all of which must pass; {@code
 * -Dparity.only=REGEX} takes those whose name holds the expression.
 */
final class ParityTest {

  // The cases provoke hundreds of warnings, and what they warn of is compared anyway.
  private static final Logger WARNINGS = Logger.getLogger("espalier.adapters");

  static {
    WARNINGS.setLevel(Level.SEVERE);
  }

  private final CasesFolder cases = CasesFolder.fromProperties();
  private final Pending pending = cases.pending();

  @TestFactory
  Stream<DynamicTest> cases() {
    return cases.folders().stream()
        .map(folder -> dynamicTest(CasesFolder.nameOf(folder), folder.toUri(), () -> run(folder)));
  }

  private void run(Path folder) {
    String reason = pending.reason(CasesFolder.nameOf(folder));
    if (reason == null) {
      List<String> faults = faults(folder);
      if (!faults.isEmpty()) {
        fail(CasesFolder.nameOf(folder) + ":\n  " + String.join("\n  ", faults));
      }
      return;
    }
    String failure = failure(folder);
    if (failure.isEmpty()) {
      fail(CasesFolder.nameOf(folder) + " passes, so its line in pending.txt must go");
    }
    throw new TestAbortedException("pending: " + reason + "; at present: " + failure);
  }

  private static List<String> faults(Path folder) {
    try (var _ = Scope.graph()) {
      Case golden = Case.in(folder);
      Methods.require(golden.method());
      return switch (Experiments.of(golden.kind()).run(golden)) {
        case Outcome.Tensors(var produced) ->
            new Judge(golden).faults(Departures.expected(golden), produced);
        case Outcome.Values(var expected, var produced) -> ValueJudge.faults(expected, produced);
      };
    }
  }

  /** What goes wrong, or nothing. A case that is pending may stumble anywhere. */
  private static String failure(Path folder) {
    try {
      return String.join("; ", faults(folder));
    } catch (RuntimeException | AssertionError e) {
      return String.valueOf(e.getMessage());
    }
  }
}
