package espalier.adapters;

import static org.bytedeco.pytorch.global.torch.tanh;

import espalier.nn.Embedding;
import espalier.nn.Linear;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** The smallest model with an embedding and a head over one weight, or over two. */
final class TiedModel implements AutoCloseable {

  static final String EMBEDDING = "model.embed_tokens";
  static final String HEAD = "lm_head";
  static final int ROWS = 7;
  static final int WIDTH = 4;

  final Tree tree;
  final Adapters adapters;
  private final Tensor ids = Tensor.create(new long[] {1, 5, 5, 2, 0, 6}, 2, 3);

  private TiedModel(boolean tied, ScalarType dtype) {
    var draw = new Tree.Draw(5);
    Tensor weight = draw.normal(ROWS, WIDTH).to(dtype);
    Tensor other = tied ? weight : draw.normal(ROWS, WIDTH).to(dtype);
    tree =
        Tree.empty()
            .with(EMBEDDING, new Embedding(weight))
            .with("model.q_proj", new Linear(draw.normal(WIDTH, WIDTH).to(dtype), null))
            .with(HEAD, new Linear(other, draw.normal(ROWS).to(dtype)));
    var facts = ModelFacts.of("llama").withEmbeddings(EMBEDDING, HEAD);
    adapters = Adapters.of(tree, tied ? facts.withTied(List.of(List.of(EMBEDDING, HEAD))) : facts);
  }

  static TiedModel tied() {
    return new TiedModel(true, ScalarType.Double);
  }

  static TiedModel untied() {
    return new TiedModel(false, ScalarType.Double);
  }

  static TiedModel of(ScalarType dtype) {
    return new TiedModel(true, dtype);
  }

  /** Logits [2, 3, rows]. */
  Tensor logits() {
    Tensor h = tree.at("model.q_proj").forward(tree.at(EMBEDDING).forward(ids));
    return tree.at(HEAD).forward(tanh(h));
  }

  /** A number that depends on both sides. */
  Tensor loss() {
    return logits().log_softmax(-1).select(-1, 3).sum().neg();
  }

  boolean shareOneWeight() {
    return tree.at(EMBEDDING).weight().data_ptr().equals(tree.at(HEAD).weight().data_ptr());
  }

  @Override
  public void close() {
    tree.close();
  }
}
