package espalier.nn;

import java.util.Collection;
import java.util.Collections;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Function;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** The tensors of an adapter that gave up their storage until a file fills them. */
final class Unfilled {

  private final Set<String> names = new TreeSet<>();
  private Function<String, RuntimeException> complaint = IllegalStateException::new;

  /** Has those of {@code tensors} that are named keep a single number under their shape. */
  void empty(
      Map<String, Tensor> tensors,
      Collection<String> named,
      Function<String, RuntimeException> whenUsed) {
    complaint = whenUsed;
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      tensors.forEach(
          (name, own) -> {
            if (named.contains(name) && own.is_floating_point()) {
              Tensor one = own.new_empty(new long[0]).fill_(new Scalar(Double.NaN));
              own.set_data(one.expand(own.sizes(), false));
              names.add(name);
            }
          });
    }
  }

  void filled(Collection<String> named) {
    names.removeAll(named);
  }

  Set<String> names() {
    return Collections.unmodifiableSet(names);
  }

  void requireNone() {
    if (!names.isEmpty()) {
      throw complaint.apply(names.iterator().next());
    }
  }
}
