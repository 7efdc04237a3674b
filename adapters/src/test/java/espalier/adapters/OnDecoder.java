package espalier.adapters;

import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Tests on a decoder of a few blocks, which has no adapters at first. */
abstract class OnDecoder {

  @RegisterExtension final NativeScope scope = NativeScope.graph();
  final Tree model;
  final Adapters adapters;

  /** An input of a layer, [rows, 8]. */
  final Tensor x;

  OnDecoder(int blocks, int rows) {
    model = Tree.decoder(blocks);
    adapters = Adapters.of(model, Tree.facts());
    x = new Tree.Draw(3).normal(rows, 8);
  }

  @AfterEach
  void close() {
    model.close();
  }

  /** What a file of an adapter holds that was attached to such a model. */
  static Map<String, Tensor> saved(AdapterConfig config) {
    try (Tree other = Tree.decoder(1)) {
      var others = Adapters.of(other, Tree.facts());
      others.attach("other", config, 5);
      var copies = new LinkedHashMap<String, Tensor>();
      others.state("other").forEach((key, tensor) -> copies.put(key, tensor.clone()));
      return copies;
    }
  }
}
