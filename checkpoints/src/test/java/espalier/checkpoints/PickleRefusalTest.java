package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThatCode;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class PickleRefusalTest {

  @TempDir Path folder;

  private void put(String... names) throws Exception {
    for (String name : names) {
      Files.write(folder.resolve(name), new byte[] {1});
    }
  }

  @Test
  void a_folder_of_pickles_is_refused_with_the_way_to_convert_them() throws Exception {
    put("config.json", "pytorch_model-00002-of-00002.bin", "pytorch_model-00001-of-00002.bin");

    assertThatThrownBy(() -> TensorFile.open(folder).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            folder
                + ": the weights are a pickle (pytorch_model-00001-of-00002.bin,"
                + " pytorch_model-00002-of-00002.bin), and loading a pickle can run any code that"
                + " is in it; convert it once, in its folder, where PyTorch and safetensors are"
                + " installed: python3 -c \"import torch; from safetensors.torch import save_file;"
                + " d = {}; [d.update(torch.load(f, map_location='cpu', weights_only=True)) for f"
                + " in ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin']];"
                + " save_file({k: v.clone().contiguous() for k, v in d.get('state_dict',"
                + " d).items()}, 'model.safetensors', metadata={'format': 'pt'})\"");
  }

  @Test
  void an_adapters_pickle_is_converted_to_an_adapters_file() throws Exception {
    put("adapter_config.json", "adapter_model.bin");

    assertThatThrownBy(() -> TensorFile.open(folder).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessageContaining("['adapter_model.bin']")
        .hasMessageContaining("'adapter_model.safetensors', metadata");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"model.pt", "model.pth", "model.ckpt", "pytorch_model.bin", "M.PT", "a.pkl"})
  void a_pickle_named_itself_is_refused(String name) throws Exception {
    put(name);

    assertThatThrownBy(() -> TensorFile.open(folder.resolve(name)).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(folder.resolve(name) + ": the weights are a pickle (" + name + ")");
  }

  @Test
  void a_pickle_beside_weights_that_can_be_read_is_no_matter() throws Exception {
    put("pytorch_model.bin", "model.safetensors");

    assertThatCode(() -> PickleRefusal.checkFolder(folder)).doesNotThrowAnyException();
  }

  @Test
  void what_trainers_leave_beside_a_model_is_no_model() throws Exception {
    put("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state_0.pth");

    assertThatCode(() -> PickleRefusal.checkFolder(folder)).doesNotThrowAnyException();
  }
}
