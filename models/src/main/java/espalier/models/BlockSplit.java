package espalier.models;

import espalier.nn.Adaptable;
import espalier.nn.ParallelStyle;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** How the layers of blocks are dealt to the ranks that compute a model together. */
final class BlockSplit {

  private BlockSplit() {}

  /**
   * How the blocks are split over ranks: what widens along its outputs, what narrows again along
   * its inputs. Attention stays whole where its heads can not be told apart by a part of a weight:
   * where one weight gives queries, keys and values, or a table gives each head a bias.
   */
  static Map<String, ParallelStyle> styles(Stack stack, int ranks) {
    DecoderSpec spec = stack.spec();
    BlockList blocks = stack.blocks();
    var styles = new LinkedHashMap<String, ParallelStyle>();
    boolean heads =
        !spec.blockNames().has(Part.QKV) && !(spec.position() instanceof Position.Relative);
    for (int i = 0; i < blocks.size(); i++) {
      AttentionSpec attention = blocks.present().get(i).spec().attention();
      if (heads && (attention.heads() % ranks != 0 || attention.kvHeads() % ranks != 0)) {
        throw new IllegalArgumentException(
            "the model has %d heads and %d key heads, which can not be dealt to %d ranks; take a divisor of both"
                .formatted(attention.heads(), attention.kvHeads(), ranks));
      }
      String block = spec.names().get(Part.BLOCKS) + "." + i + ".";
      String within = i + ".";
      spec.blockNames()
          .forEach(
              (part, name) -> {
                ParallelStyle style = style(part, heads);
                if (style != null && blocks.node().find(within + name) instanceof Adaptable) {
                  styles.put(block + name, style);
                }
              });
    }
    return styles;
  }

  private static @Nullable ParallelStyle style(Part part, boolean heads) {
    return switch (part) {
      case Q, K, V -> heads ? ParallelStyle.COLUMN : null;
      case O -> heads ? ParallelStyle.ROW : null;
      case Q_NORM, K_NORM -> heads ? ParallelStyle.REPLICATED_SUMMED : null;
      case GATE, UP -> ParallelStyle.COLUMN;
      case DOWN -> ParallelStyle.ROW;
      default -> null;
    };
  }
}
