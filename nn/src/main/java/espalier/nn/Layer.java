package espalier.nn;

import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.function.BiConsumer;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * A node of a model's tree: named parameters and named children. The path from the root, with dots,
 * is the key in a checkpoint, and the name that {@code target_modules} matches.
 */
public abstract class Layer implements AutoCloseable {

  private final Map<String, Tensor> parameters = new LinkedHashMap<>();
  private final Map<String, Layer> children = new LinkedHashMap<>();
  private boolean training;

  static {
    Native.prepare();
  }

  /** What users and error messages call this kind of layer, such as {@code Linear}. */
  public String typeName() {
    return getClass().getSimpleName();
  }

  /** Whether dropout and other training-only behaviour is on. A new layer is in evaluation mode. */
  public final boolean training() {
    return training;
  }

  /** Switches this layer and all below it, adapters included, to training or to evaluation. */
  public void train(boolean on) {
    training = on;
    children.values().forEach(child -> child.train(on));
  }

  /** The layers right below, by name, in order. */
  public final Map<String, Layer> children() {
    return Collections.unmodifiableMap(children);
  }

  /** This layer's own parameters, by name, in order; handles stay owned by the layer. */
  public final Map<String, Tensor> parameters() {
    beforeReading();
    return Collections.unmodifiableMap(parameters);
  }

  /** Visits this layer (path "") and all below it, parents first, in registration order. */
  public final void walk(BiConsumer<String, Layer> visitor) {
    walk("", visitor);
  }

  private void walk(String path, BiConsumer<String, Layer> visitor) {
    visitor.accept(path, this);
    children.forEach((name, child) -> child.walk(join(path, name), visitor));
  }

  /** All layers below this one by path, this one left out; parents first. */
  public final Map<String, Layer> layers() {
    var all = new LinkedHashMap<String, Layer>();
    walk(
        (path, layer) -> {
          if (!path.isEmpty()) {
            all.put(path, layer);
          }
        });
    return all;
  }

  /** The parameters of this layer and all below it by path, without adapters. */
  public final Map<String, Tensor> namedParameters() {
    var all = new LinkedHashMap<String, Tensor>();
    walk((path, layer) -> layer.parameters().forEach((name, p) -> all.put(join(path, name), p)));
    return all;
  }

  /** Called before somebody else sees the parameters. */
  void beforeReading() {}

  /** The layer at {@code path}, or null. */
  public final @Nullable Layer find(String path) {
    Layer at = this;
    for (String name : path.isEmpty() ? new String[0] : path.split("\\.", -1)) {
      at = at.children.get(name);
      if (at == null) {
        return null;
      }
    }
    return at;
  }

  /** Joins two parts of a path, either of which may be empty. */
  public static String join(String path, String name) {
    return path.isEmpty() ? name : name.isEmpty() ? path : path + "." + name;
  }

  /** Registers a child under {@code name}, which may hold dots for children that have no node. */
  protected final <L extends Layer> L child(String name, L layer) {
    if (children.putIfAbsent(name, layer) != null) {
      throw new IllegalStateException("the layer " + name + " is there already");
    }
    return layer;
  }

  /** Takes a child out of the tree without closing it. */
  protected final void removeChild(String name) {
    children.remove(name);
  }

  /**
   * Registers a parameter, or replaces it. The layer owns a handle of its own and closes it with
   * itself; the given handle stays the caller's.
   *
   * @return the owned handle
   */
  protected Tensor parameter(String name, Tensor value) {
    Tensor owned = Scope.own(value);
    Tensor old = parameters.put(name, owned);
    if (old != null) {
      old.close();
    }
    return owned;
  }

  /** Takes a parameter away and closes it. */
  protected final void removeParameter(String name) {
    Tensor old = parameters.remove(name);
    if (old != null) {
      old.close();
    }
  }

  /** The parameter called {@code name}; it must be there. */
  protected final Tensor parameter(String name) {
    return Objects.requireNonNull(parameters.get(name), name);
  }

  /** Frees the parameters of this layer and of all below it. Closing twice is harmless. */
  @Override
  public void close() {
    List<Layer> below = new ArrayList<>(children.values());
    below.forEach(Layer::close);
    parameters.values().forEach(Tensor::close);
    parameters.clear();
  }
}
