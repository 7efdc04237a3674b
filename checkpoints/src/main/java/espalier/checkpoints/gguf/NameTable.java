package espalier.checkpoints.gguf;

import java.util.ArrayList;
import java.util.List;

/**
 * Which tensor of a file is which of Hugging Face's. {@code {n}} in a name stands for each layer,
 * {@code {e}} for each expert.
 */
final class NameTable {

  /**
   * One line of the table.
   *
   * @param file the name in the file; without {e} where the other has it, the experts' matrices are
   *     stacked in one tensor
   * @param huggingFace the name in a checkpoint on the hub
   * @param layout what reading undoes
   * @param required whether a file without it is refused
   */
  record Line(String file, String huggingFace, Layout layout, boolean required) {

    boolean perLayer() {
      return file.contains("{n}");
    }

    boolean stacked() {
      return huggingFace.contains("{e}") && !file.contains("{e}");
    }

    boolean perExpert() {
      return file.contains("{e}");
    }
  }

  private final List<Line> lines = new ArrayList<>();
  private final List<String> unused = new ArrayList<>();

  List<Line> lines() {
    return lines;
  }

  /** Names that a file may have, with {n}, and that hold nothing a model is built from. */
  List<String> unused() {
    return unused;
  }

  NameTable add(String file, String huggingFace) {
    return add(file, huggingFace, new Layout.AsStored());
  }

  NameTable add(String file, String huggingFace, Layout layout) {
    lines.add(new Line(file, huggingFace, layout, true));
    return this;
  }

  /** A tensor that some models of the family have. */
  NameTable addOptional(String file, String huggingFace) {
    lines.add(new Line(file, huggingFace, new Layout.AsStored(), false));
    return this;
  }

  /** The weight and the bias of a projection. */
  NameTable addWithBias(String file, String huggingFace, Layout weight, Layout bias) {
    return add(file + ".weight", huggingFace + ".weight", weight)
        .add(file + ".bias", huggingFace + ".bias", bias);
  }

  NameTable ignore(String file) {
    unused.add(file);
    return this;
  }
}
