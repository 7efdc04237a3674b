package espalier.parity;

import static org.bytedeco.pytorch.global.torch.cross_entropy;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.models.Task;
import java.nio.file.Path;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.CrossEntropyLossOptions;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** One of the tiny models that the cases are about. */
final class GoldenModel {

  private GoldenModel() {}

  /** Loads the model of a folder, under the name that it had when the cases were made. */
  static PretrainedModel load(Path folder) {
    String name = "models/" + folder.getFileName();
    return PretrainedModel.load(folder, ScalarType.Float, name, Adapting.CATALOG);
  }

  /** The family of the model in a folder. */
  static String type(Path folder) {
    return Case.JSON.readTree(folder.resolve("config.json")).required("model_type").asString();
  }

  /** A batch as the cases store it: ids, mask, and the decoder's ids where there is a decoder. */
  static ModelInputs inputs(Map<String, Tensor> stored) {
    Tensor ids = Objects.requireNonNull(stored.get("input_ids"));
    @Nullable Tensor mask = stored.get("attention_mask");
    @Nullable Tensor decoder = stored.get("decoder_input_ids");
    return decoder == null ? ModelInputs.of(ids, mask) : ModelInputs.answering(ids, mask, decoder);
  }

  /**
   * The model's own loss: mean cross entropy over the labels that are not -100; those of a causal
   * model belong to the position before.
   *
   * @param logits [B, T, V], or [B, labels] of a classifier
   * @param stored the batch, with {@code labels} [B, T], or [B] of a classifier
   */
  static Tensor loss(Task task, Tensor logits, Map<String, Tensor> stored) {
    Tensor labels = Objects.requireNonNull(stored.get("labels"));
    Tensor scores = logits;
    Tensor targets = labels;
    if (task == Task.CAUSAL_LM) {
      long predicting = logits.size(1) - 1;
      scores = logits.narrow(1, 0, predicting);
      targets = labels.narrow(1, 1, predicting);
    }
    var options = new CrossEntropyLossOptions();
    options.ignore_index().put(-100);
    return cross_entropy(scores.reshape(-1, scores.size(-1)), targets.reshape(-1), options);
  }
}
