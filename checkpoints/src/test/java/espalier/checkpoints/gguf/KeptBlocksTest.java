package espalier.checkpoints.gguf;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.catalog.AdapterCatalog;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.checkpoints.pretrained.Quantisation;
import espalier.models.ModelInputs;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import java.util.Random;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class KeptBlocksTest {

  private static final String Q = "model.layers.0.self_attn.q_proj";
  private static final String O = "model.layers.0.self_attn.o_proj";

  @TempDir Path folder;

  /**
   * A llama 32 wide, its projections in Q8_0 but for the one whose rows are shorter than a block.
   */
  private Path file() throws IOException {
    var random = new Random(5);
    TinyGguf file =
        TinyModels.llama()
            .withTokenizerOf(TinyTokenizers.sentencePiece())
            .key("llama.embedding_length", 32)
            .key("llama.feed_forward_length", 32)
            .floats("token_embd.weight", floats(random, 3 * 32), 3, 32)
            .floats("output_norm.weight", floats(random, 32), 32)
            .floats("blk.0.attn_norm.weight", floats(random, 32), 32)
            .floats("blk.0.ffn_norm.weight", floats(random, 32), 32)
            .floats("blk.0.attn_output.weight", floats(random, 32 * 8), 32, 8);
    blocks(file, random, "attn_q", 8);
    blocks(file, random, "attn_k", 4);
    blocks(file, random, "attn_v", 4);
    blocks(file, random, "ffn_gate", 32);
    blocks(file, random, "ffn_up", 32);
    blocks(file, random, "ffn_down", 32);
    return Files.write(folder.resolve("tiny.gguf"), file.bytes());
  }

  private static void blocks(TinyGguf file, Random random, String name, int rows) {
    byte[] data = new byte[rows * 34];
    random.nextBytes(data);
    for (int row = 0; row < rows; row++) {
      data[row * 34 + 1] = 0x1c; // the scale's exponent: about 1/256
    }
    file.tensor("blk.0." + name + ".weight", TinyGguf.Q8_0, data, rows, 32);
  }

  private static float[] floats(Random random, int count) {
    var values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  private static PretrainedModel load(Path path, Quantisation quantisation) {
    return PretrainedModel.load(
        path, ScalarType.Float, quantisation, "tiny", AdapterCatalog.standard());
  }

  private static Linear layer(PretrainedModel model, String path) {
    return (Linear) Objects.requireNonNull(model.find(path));
  }

  @Test
  void a_model_in_its_files_blocks_computes_as_the_decoded_one() throws IOException {
    Path path = file();
    try (var kept = load(path, Quantisation.KEEP);
        var plain = load(path, Quantisation.NONE);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      var in = ModelInputs.of(Tensor.create(new long[] {1, 2, 0, 1}, 1, 4));

      Tensor ours = kept.model().logits(in);
      Tensor theirs = plain.model().logits(in);

      assertThat(ours.sub(theirs).abs().max().item_double()).isLessThan(1e-4);
      assertThat(Objects.requireNonNull(layer(kept, Q).quantised()).format()).isEqualTo("Q8_0");
      // the file has the rows of each head in another order
      assertThat(layer(kept, Q).weight().equal(layer(plain, Q).weight())).isTrue();
      assertThat(layer(kept, O).quantised()).isNull();
      assertThat(kept.quantisedNumbers()).isEqualTo((8 + 4 + 4 + 3 * 32) * 32);
      assertThat(kept.quantisedBytes()).isEqualTo((8 + 4 + 4 + 3 * 32) * 34);
    }
  }

  @Test
  void blocks_that_are_kept_become_plain_weights_when_they_are_asked_for() throws IOException {
    Path path = file();
    try (var kept = load(path, Quantisation.KEEP);
        var plain = load(path, Quantisation.NONE)) {

      kept.dequantise();

      assertThat(kept.quantisedBytes()).isZero();
      assertThat(layer(kept, Q).weight().equal(layer(plain, Q).weight())).isTrue();
    }
  }

  @Test
  void in_float16_weights_are_those_of_float32_rounded_once() throws IOException {
    Path path = file();
    var catalog = AdapterCatalog.standard();
    try (var half =
            PretrainedModel.load(path, ScalarType.Half, Quantisation.NONE, "tiny", catalog);
        var kept = PretrainedModel.load(path, ScalarType.Half, Quantisation.KEEP, "tiny", catalog);
        var plain = load(path, Quantisation.NONE);
        var _ = Scope.open()) {
      for (String layer : List.of(Q, O)) {
        Tensor expected = layer(plain, layer).weight().to(ScalarType.Half);

        assertThat(layer(half, layer).weight().equal(expected)).isTrue();
        assertThat(layer(kept, layer).weight().equal(expected)).isTrue();
      }
    }
  }

  @Test
  void a_folder_has_no_blocks_to_keep() {
    Path model = Path.of("../parity/models/llama");

    assertThatThrownBy(() -> load(model, Quantisation.KEEP))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "quantize is keep, which keeps a GGUF file's own blocks and weights in float8, but"
                + " ../parity/models/llama is a folder of plain weights; use nf4 or int8, or name"
                + " a .gguf file");
  }
}
