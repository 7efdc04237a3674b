package espalier.nn;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * Memory for temporaries of the products of a graph, the same again for each layer: taken as on a
 * stack, and all that was taken since is free again when a frame closes. Without a graph, and where
 * there is no memory of this kind, each temporary has memory of its own.
 *
 * <pre>{@code
 * try (var scratch = Scratch.frame()) {
 *   Tensor wide = scratch.as(x, ScalarType.Float); // not to be used after the frame
 * }
 * }</pre>
 */
public final class Scratch implements AutoCloseable {

  /** The blocks of one graph. */
  static final class Stack implements AutoCloseable {
    private final List<SharedBlock> blocks = new ArrayList<>();
    private int current;

    private Tensor take(ScalarType dtype, long[] shape) {
      while (current < blocks.size() && !blocks.get(current).fits(dtype, shape)) {
        current++;
        if (current < blocks.size()) {
          blocks.get(current).reuseFrom(0);
        }
      }
      if (current == blocks.size()) {
        blocks.add(new SharedBlock());
      }
      return blocks.get(current).take(dtype, shape);
    }

    @Override
    public void close() {
      blocks.forEach(SharedBlock::close);
      blocks.clear();
      current = 0;
    }
  }

  private final @Nullable Stack stack;
  private final int block;
  private final long used;

  private Scratch(@Nullable Stack stack) {
    this.stack = stack;
    block = stack == null ? 0 : stack.current;
    used = stack == null || block >= stack.blocks.size() ? 0 : stack.blocks.get(block).used();
  }

  /** Opens a frame on the stack of this thread's graph. */
  public static Scratch frame() {
    return new Scratch(Scope.scratch());
  }

  /** Uninitialised memory where {@code like} is. */
  public Tensor empty(ScalarType dtype, Tensor like, long... shape) {
    return stack == null || !like.is_cpu() || SharedBlock.bytes(dtype, shape) > SharedBlock.BYTES
        ? like.new_empty(shape, Scope.options(like, dtype))
        : stack.take(dtype, shape);
  }

  /** The same numbers in a dtype; a tensor that has it is returned as it is. */
  public Tensor as(Tensor tensor, ScalarType dtype) {
    if (tensor.scalar_type().intern() == dtype) {
      return tensor;
    }
    if (tensor.dim() == 2 && !tensor.is_contiguous() && tensor.t().is_contiguous()) {
      return as(tensor.t(), dtype).t(); // the product reads it in the order that it has
    }
    return empty(dtype, tensor, tensor.shape()).copy_(tensor);
  }

  /**
   * Has numbers written in a dtype, and rounds them into memory that has another.
   *
   * @param room of the result, taken before this frame's temporaries
   * @param write is given memory of that dtype in the shape of the room; its temporaries end with
   *     it
   * @return room
   */
  public Tensor written(Tensor room, ScalarType dtype, Consumer<Tensor> write) {
    boolean rounds = room.scalar_type().intern() != dtype;
    try (var _ = new PointerScope()) {
      Tensor to = rounds ? empty(dtype, room, room.shape()) : room;
      write.accept(to);
      if (rounds) {
        room.copy_(to);
      }
    }
    return room;
  }

  @Override
  public void close() {
    if (stack != null) {
      stack.current = block;
      if (block < stack.blocks.size()) {
        stack.blocks.get(block).reuseFrom(used);
      }
    }
  }
}
