package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.shira.ShiraConfig;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Merge;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Objects;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Entries that are merged into weights on a mapped file. */
class MergedInPlaceTest {

  @TempDir Path folder;

  private Path file() {
    float[] values = new float[128];
    for (int i = 0; i < values.length; i++) {
      values[i] = i;
    }
    return RawSafetensors.write(folder, "values", RawSafetensors.floats(values));
  }

  private static Linear layer(MappedFile file) {
    try (var _ = Scope.open()) {
      return new Linear(file.tensor(256, ScalarType.Float, 8, 8), null);
    }
  }

  private static void merge(Linear layer) {
    try (var _ = new NoGradGuard()) {
      ShiraConfig config = ShiraConfig.defaults().withR(1).withZeroStart(false);
      layer.adapters().attach("one", config.create(layer, "layer", Init.shared(1)));
      try (Merge merge = Objects.requireNonNull(layer.adapters().prepareMerge(List.of("one")))) {
        merge.commit();
      }
    }
  }

  @Test
  void they_are_written_where_the_weight_lies_and_the_file_stays_as_it_is() throws IOException {
    Path path = file();
    byte[] before = Files.readAllBytes(path);
    try (var file = MappedFile.open(path);
        var _ = Scope.open();
        Linear layer = layer(file)) {
      long address = layer.weight().data_ptr().address();
      Tensor weight = layer.weight().clone();

      merge(layer);

      assertThat(layer.weight().data_ptr().address()).isEqualTo(address);
      assertThat(layer.weight().equal(weight)).isFalse();
      assertThat(Files.readAllBytes(path)).isEqualTo(before);
      layer.adapters().unmerge();
      assertThat(layer.weight().equal(weight)).isTrue();
    }
  }

  @Test
  void two_layers_over_the_same_bytes_do_not_see_each_other_s_entries() {
    try (var file = MappedFile.open(file());
        var _ = Scope.open();
        Linear one = layer(file);
        Linear other = layer(file)) {
      Tensor weight = one.weight().clone();

      merge(one);

      assertThat(one.weight().equal(weight)).isFalse();
      assertThat(other.weight().equal(weight)).isTrue();
    }
  }
}
