package espalier.text.jinja;

import java.time.Clock;
import java.util.IdentityHashMap;
import java.util.List;

/** One rendering: what it has spent of its limits, where it is, and what it has written. */
final class Run {

  /** Characters or elements that are walked through in about the time of a step. */
  private static final int UNITS_A_STEP = 64;

  private final Limits limits;
  private final Clock clock;
  private final IdentityHashMap<String, List<int[]>> marks = new IdentityHashMap<>();
  private final IdentityHashMap<Object, Boolean> safe = new IdentityHashMap<>();
  private Output output;
  private long steps;
  private long memory;
  private int depth;
  private int line = 1;

  Run(Limits limits, Clock clock) {
    this.limits = limits;
    this.clock = clock;
    output = new Output(this);
  }

  Clock clock() {
    return clock;
  }

  Output output() {
    return output;
  }

  int line() {
    return line;
  }

  void at(int line) {
    this.line = line;
  }

  /** Counts one step. */
  void step() {
    steps(1);
  }

  /** Counts the steps that it takes to walk through {@code units} characters or elements. */
  void walk(long units) {
    steps(units / UNITS_A_STEP);
  }

  private void steps(long count) {
    steps += count;
    if (steps > limits.steps()) {
      throw new JinjaException(
          "the template took more than %d steps and was stopped".formatted(limits.steps()));
    }
  }

  /** Goes one level down; {@link #leave} comes back. */
  void enter() {
    if (++depth > limits.depth()) {
      throw new JinjaException(
          "the template went more than %d levels deep and was stopped".formatted(limits.depth()));
    }
  }

  void leave() {
    depth--;
  }

  /** Asks whether a string of {@code length} may be made, before it is. */
  void string(long length) {
    if (length > limits.output()) {
      throw new JinjaException(
          "the template made a text of more than %d characters and was stopped"
              .formatted(limits.output()));
    }
    memory(length);
    walk(length);
  }

  /** Asks whether a list of {@code size} may be made, before it is. */
  void list(long size) {
    memory(Math.multiplyExact(Math.min(size, Integer.MAX_VALUE), 8L));
    walk(size);
  }

  private void memory(long units) {
    memory += units;
    if (memory > limits.memory()) {
      throw new JinjaException(
          "the template made more than %d characters of values and was stopped"
              .formatted(limits.memory()));
    }
  }

  /** Accounts for a string that was made, and returns it. */
  String made(String text) {
    string(text.length());
    return text;
  }

  /** Runs {@code writer} and returns what it wrote, instead of writing it. */
  String capture(Runnable writer) {
    Output outer = output;
    Output inner = new Output(this);
    output = inner;
    try {
      writer.run();
    } finally {
      output = outer;
    }
    String text = inner.text();
    if (!inner.generated().isEmpty()) {
      marks.put(text, inner.generated());
    }
    return text;
  }

  /**
   * The generation blocks in a text that {@link #capture} returned: a macro may hold them, and they
   * count where its text is printed.
   */
  List<int[]> marks(String text) {
    return marks.getOrDefault(text, List.of());
  }

  /** A text that counts as HTML already: what is added to it with a plus is escaped. */
  String safe(String text) {
    String own = made(new String(text)); // no other string is this one
    safe.put(own, true);
    return own;
  }

  /** A text made of another one: it counts as HTML where that does. */
  String alike(Object origin, String made) {
    return isSafe(origin) ? safe(made) : made;
  }

  /** Whether the filters {@code safe} or {@code escape} made the text. */
  boolean isSafe(Object text) {
    return text instanceof String && !safe.isEmpty() && safe.containsKey(text);
  }

  int outputLimit() {
    return limits.output();
  }
}
