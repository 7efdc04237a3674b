package espalier.cli;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Optional;

/** The three streams that a process begins with. */
enum StandardStream {
  INPUT(0),
  OUTPUT(1),
  ERROR(2);

  private final int descriptor;

  StandardStream(int descriptor) {
    this.descriptor = descriptor;
  }

  // Java tells whether input and output both are a terminal, but nothing about each stream.
  private static final Optional<MemorySegment> ISATTY =
      Linker.nativeLinker()
          .defaultLookup()
          .find("isatty")
          .or(() -> Linker.nativeLinker().defaultLookup().find("_isatty"));

  /** Whether a person sits at the other end. */
  @SuppressWarnings("restricted")
  boolean isTerminal() {
    if (ISATTY.isEmpty()) {
      return false; // plain lines are readable everywhere
    }
    var isatty =
        Linker.nativeLinker()
            .downcallHandle(
                ISATTY.get(), FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.JAVA_INT));
    try {
      return (int) isatty.invokeExact(descriptor) != 0;
    } catch (Throwable e) {
      throw new IllegalStateException("isatty failed for " + this, e);
    }
  }
}
