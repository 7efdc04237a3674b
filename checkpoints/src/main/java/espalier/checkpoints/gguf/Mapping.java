package espalier.checkpoints.gguf;

import espalier.checkpoints.CheckpointException;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;

/** A table of names laid over the tensors of one file. */
final class Mapping {

  private final GgufFile file;
  private final Map<String, TensorSource> sources = new LinkedHashMap<>();
  private final Set<String> used = new HashSet<>();

  private Mapping(GgufFile file) {
    this.file = file;
  }

  /**
   * The source of each of Hugging Face's tensors, by its name, in the table's order.
   *
   * @throws CheckpointException if a tensor is missing, or if the file has one that the table does
   *     not: the model would be another than the file's
   */
  static Map<String, TensorSource> of(GgufFile file, NameTable table, long layers, long experts) {
    refuseMissingLayers(file, layers);
    var mapping = new Mapping(file);
    for (NameTable.Line line : table.lines()) {
      for (long layer = 0; layer < (line.perLayer() ? layers : 1); layer++) {
        for (long expert = 0; expert < (line.perExpert() ? experts : 1); expert++) {
          mapping.add(line, layer, expert, experts);
        }
      }
    }
    for (String unused : table.unused()) {
      for (long layer = 0; layer < layers; layer++) {
        mapping.used.add(unused.replace("{n}", Long.toString(layer)));
      }
    }
    mapping.refuseUnused();
    return Collections.unmodifiableMap(mapping.sources);
  }

  /** A count of layers far beyond the file's tensors would be walked through for long. */
  private static void refuseMissingLayers(GgufFile file, long layers) {
    if (layers > file.byName().size()) {
      throw CheckpointException.in(
          file.path(),
          "block_count is %d, but the file has %d tensors in all; it is incomplete, fetch it again"
              .formatted(layers, file.byName().size()));
    }
  }

  private void add(NameTable.Line line, long layer, long expert, long experts) {
    String name = fill(line.file(), layer, expert);
    TensorInfo info = file.byName().get(name);
    if (info == null) {
      if (line.required()) {
        throw CheckpointException.in(
            file.path(),
            "the tensor %s is missing, which this architecture needs; fetch the file again"
                .formatted(name));
      }
      return;
    }
    used.add(name);
    if (line.stacked()) {
      addStacked(line, layer, info, experts);
    } else {
      sources.put(fill(line.huggingFace(), layer, expert), source(info, line.layout()));
    }
  }

  private TensorSource source(TensorInfo info, Layout layout) {
    int dimensions = info.shape().size();
    if (layout instanceof Layout.Transposed && dimensions != 2) {
      throw wrongShape(info, "[out, in]");
    }
    if (layout instanceof Layout.InterleavedHeads(long headRows)
        && (dimensions > 2 || info.shape().getFirst() % headRows != 0)) {
      throw wrongShape(info, "a multiple of the %d rows of a head".formatted(headRows));
    }
    if (dimensions == 1
        && layout instanceof Layout.InterleavedHeads
        && info.format().elements() != 1) {
      throw wrongShape(info, "a vector of plain numbers");
    }
    return TensorSource.whole(info, layout);
  }

  private void addStacked(NameTable.Line line, long layer, TensorInfo info, long experts) {
    if (info.shape().size() != 3 || info.shape().getFirst() != experts) {
      throw wrongShape(info, "[%d experts, out, in]".formatted(experts));
    }
    for (long expert = 0; expert < experts; expert++) {
      sources.put(fill(line.huggingFace(), layer, expert), TensorSource.slice(info, expert));
    }
  }

  private CheckpointException wrongShape(TensorInfo info, String expected) {
    return CheckpointException.at(
        file.path(),
        info.offset(),
        "%s is %s %s but must be %s; the file is damaged or of another architecture"
            .formatted(info.name(), info.format().name(), info.shape(), expected));
  }

  private void refuseUnused() {
    for (String name : file.byName().keySet()) {
      if (!used.contains(name)) {
        throw CheckpointException.in(
            file.path(),
            "the tensor %s has no place in this architecture, so the model would not be the file's;"
                    .formatted(name)
                + " use the model's original files");
      }
    }
  }

  private static String fill(String name, long layer, long expert) {
    return name.replace("{n}", Long.toString(layer)).replace("{e}", Long.toString(expert));
  }
}
