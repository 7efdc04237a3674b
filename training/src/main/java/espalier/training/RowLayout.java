package espalier.training;

import espalier.text.Example;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;

/**
 * Where the tokens of a row's examples stand, who sees them, and which of them are learned.
 *
 * <p>Examples that begin with the same tokens are a tree, which is laid out depth first: what two
 * of them share stands before both, and a token is seen by all that come after it in its branch.
 */
final class RowLayout {

  private final int[] ids; // of as many tokens as count says
  private final int[] reach; // the end of each token's branch
  private int count;
  private final List<Judged> judged = new ArrayList<>();

  /**
   * A token that is learned.
   *
   * @param source the place whose output is judged
   * @param place its own place
   */
  record Judged(int source, int place) {}

  private RowLayout(int room) {
    ids = new int[room];
    reach = new int[room];
  }

  /** The examples one after another. */
  static RowLayout apart(List<Example> examples) {
    var layout = new RowLayout(tokens(examples));
    for (Example example : examples) {
      layout.add(example, new int[example.length()], 0);
    }
    return layout;
  }

  /** The examples with what they begin with in common once. */
  static RowLayout sharing(List<Example> examples) {
    var layout = new RowLayout(tokens(examples));
    var path = new int[examples.stream().mapToInt(Example::length).max().orElse(0)];
    // In this order the one before shares more than any other that came before.
    List<Example> sorted =
        examples.stream().sorted(Comparator.comparing(Example::ids, Arrays::compare)).toList();
    for (int i = 0; i < sorted.size(); i++) {
      int shared = i == 0 ? 0 : shared(sorted.get(i - 1), sorted.get(i));
      layout.add(sorted.get(i), path, shared);
    }
    return layout;
  }

  /** How many tokens two examples begin with in common. */
  static int shared(Example a, Example b) {
    int differing = Arrays.mismatch(a.ids(), b.ids());
    return differing < 0 ? a.length() : differing;
  }

  private static int tokens(List<Example> examples) {
    return examples.stream().mapToInt(Example::length).sum();
  }

  /**
   * @param path the places of the tokens of the example before, and of this one then
   * @param shared how many of them are this one's too
   */
  private void add(Example example, int[] path, int shared) {
    for (int i = shared; i < example.length(); i++) {
      ids[count] = example.ids()[i];
      path[i] = count++;
    }
    for (int i = 0; i < example.length(); i++) {
      reach[path[i]] = count;
      // The first token of an example has nothing before it that could predict it.
      if (i > 0 && example.labels()[i] != Example.IGNORED) {
        judged.add(new Judged(path[i - 1], path[i]));
      }
    }
  }

  int length() {
    return count;
  }

  int id(int place) {
    return ids[place];
  }

  /** The first place whose token does not see this one though it stands after it. */
  int reach(int place) {
    return reach[place];
  }

  /** One entry for each example that learns a token. */
  List<Judged> judged() {
    return Collections.unmodifiableList(judged);
  }
}
