package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.ones;

import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** When the memory of a mapped file goes: after the file is closed and the last tensor has died. */
class MappedFileTest {

  private static final int TENSORS = 1000;

  @TempDir Path folder;
  private MappedFile file;

  @BeforeEach
  void map_a_file_whose_tensor_i_is_filled_with_i() {
    float[] values = new float[TENSORS * 4];
    for (int i = 0; i < TENSORS; i++) {
      Arrays.fill(values, 4 * i, 4 * i + 4, i);
    }
    file = MappedFile.open(RawSafetensors.write(folder, "values", RawSafetensors.floats(values)));
  }

  private Tensor tensor(int i) {
    return file.tensor(16L * i, ScalarType.Float, 2, 2);
  }

  /** Handles that no scope and no collector frees. */
  private List<Tensor> owned() {
    var tensors = new ArrayList<Tensor>();
    for (int i = 0; i < TENSORS; i++) {
      int at = i;
      tensors.add(Scope.owned(() -> tensor(at)));
    }
    return tensors;
  }

  @Test
  void a_file_without_tensors_is_unmapped_when_it_is_closed() {
    assertThat(file.mapped()).isTrue();

    file.close();

    assertThat(file.mapped()).isFalse();
  }

  @Test
  void tensors_outlive_the_file_and_the_last_one_unmaps_it_in_whatever_order_they_die() {
    List<Tensor> tensors = owned();
    file.close();
    Collections.shuffle(tensors, new Random(1));

    for (Tensor tensor : tensors.subList(1, TENSORS)) {
      tensor.close();
    }
    assertThat(file.mapped()).isTrue();
    assertThat(tensors.getFirst().sum().item_float() % 4).isZero();

    tensors.getFirst().close();
    assertThat(file.mapped()).isFalse();
  }

  @Test
  void tensors_that_die_first_leave_the_file_open() {
    owned().forEach(Tensor::close);

    assertThat(file.mapped()).isTrue();
    try (var _ = new PointerScope()) {
      assertThat(tensor(999).get(1).get(1).item_float()).isEqualTo(999);
    }
    file.close();
    assertThat(file.mapped()).isFalse();
  }

  @Test
  void a_view_outlives_its_parent_and_the_file() {
    Tensor view =
        Scope.owned(
            () -> {
              Tensor parent = tensor(7);
              Tensor row = parent.view(4).narrow(0, 1, 2);
              parent.close();
              return row;
            });
    file.close();

    assertThat(file.mapped()).isTrue();
    assertThat(view.sum().item_float()).isEqualTo(14);

    view.close();
    assertThat(file.mapped()).isFalse();
  }

  @Test
  void a_scope_that_closes_releases_what_was_read_in_it() {
    try (var _ = new PointerScope()) {
      for (int i = 0; i < TENSORS; i++) {
        tensor(i);
      }
      file.close();
      assertThat(file.mapped()).isTrue();
    }

    assertThat(file.mapped()).isFalse();
  }

  @Test
  void what_autograd_keeps_counts_as_a_tensor() {
    Tensor loss =
        Scope.owned(
            () -> {
              Tensor w = tensor(3);
              Tensor x = ones(2, 2).set_requires_grad(true);
              return x.mm(w).sum(); // backward needs w
            });
    file.close();
    assertThat(file.mapped()).isTrue();

    loss.backward();
    loss.close();
    assertThat(file.mapped()).isFalse();
  }

  @Test
  void collections_between_reading_and_closing_do_no_harm() {
    List<Tensor> tensors = owned();
    for (int i = 0; i < TENSORS; i++) {
      if (i % 200 == 0) {
        System.gc();
      }
      try (var _ = new PointerScope()) {
        assertThat(tensors.get(i).get(0).get(0).item_float()).isEqualTo(i);
      }
      tensors.get(i).close();
    }
    file.close();

    assertThat(file.mapped()).isFalse();
  }

  @Test
  void tensors_that_nobody_closed_are_released_by_the_collector() throws Exception {
    for (int i = 0; i < TENSORS; i++) {
      tensor(i);
    }
    file.close();

    // Up to ten seconds; a few milliseconds are usual.
    for (int i = 0; i < 1000 && file.mapped(); i++) {
      System.gc();
      Thread.sleep(10);
    }
    assertThat(file.mapped()).isFalse();
  }

  @Test
  void tensors_may_die_on_many_threads_at_once() throws Exception {
    List<Tensor> tensors = owned();
    file.close();

    try (var threads = Executors.newFixedThreadPool(8)) {
      var done = new ArrayList<Future<?>>();
      for (Tensor tensor : tensors) {
        done.add(threads.submit(tensor::close));
      }
      for (Future<?> each : done) {
        each.get();
      }
    }

    assertThat(file.mapped()).isFalse();
  }

  @Test
  void two_files_are_told_apart() {
    Path path = RawSafetensors.write(folder, "other", RawSafetensors.floats(1, 2, 3, 4));
    MappedFile other = MappedFile.open(path);
    Tensor mine = Scope.owned(() -> tensor(999));
    Tensor its = Scope.owned(() -> other.tensor(0, ScalarType.Float, 4));
    file.close();
    other.close();

    its.close();
    assertThat(other.mapped()).isFalse();
    assertThat(file.mapped()).isTrue();
    mine.close();
    assertThat(file.mapped()).isFalse();
  }

  @Test
  void files_that_come_and_go_do_not_confuse_each_other_although_addresses_repeat() {
    Path path = RawSafetensors.write(folder, "again", RawSafetensors.floats(1, 2, 3, 4));
    for (int i = 0; i < 200; i++) {
      MappedFile again = MappedFile.open(path);
      try (var _ = new PointerScope()) {
        Tensor values = again.tensor(0, ScalarType.Float, 4);
        again.close();
        assertThat(values.sum().item_float()).isEqualTo(10);
        values.fill_(new Scalar(i));
        assertThat(again.mapped()).isTrue();
      }
      assertThat(again.mapped()).isFalse();
    }
    file.close();
  }

  @Test
  void a_tensor_that_would_reach_outside_is_refused() {
    assertThatThrownBy(() -> file.tensor(15_990, ScalarType.Float, 4))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "16 bytes at byte 15990 reach outside of %s, which has 16000".formatted(file.path()));
    assertThatThrownBy(() -> file.tensor(0, ScalarType.Float, -1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("a size of a tensor is -1 but 0 is the least");
    file.close();
  }

  @Test
  void copied_and_empty_tensors_hold_nothing() {
    Tensor copied = Scope.owned(() -> file.tensor(1, ScalarType.Float, 4));
    Tensor empty = Scope.owned(() -> file.tensor(0, ScalarType.Float, 0, 4));
    file.close();

    assertThat(file.mapped()).isFalse();
    assertThat(copied.numel()).isEqualTo(4);
    assertThat(empty.numel()).isZero();
    copied.close();
    empty.close();
  }
}
