package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.arange;
import static org.bytedeco.pytorch.global.torch.ones;

import java.util.List;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;

class KeptMemoryTest {

  @Test
  void tensors_of_one_block_share_memory_and_neither_numbers_nor_versions() {
    try (var _ = Scope.graph()) {
      Tensor a = Scope.room(ones(1), 3, 5).fill_(new Scalar(1));
      Tensor b = Scope.room(ones(1), 7).fill_(new Scalar(2));
      long version = a._version();

      b.mul_(new Scalar(3));

      assertThat(a.storage().data().address()).isEqualTo(b.storage().data().address());
      assertThat(a.eq(new Scalar(1)).all().item_bool()).isTrue();
      assertThat(b.eq(new Scalar(6)).all().item_bool()).isTrue();
      assertThat(a._version()).isEqualTo(version);
      assertThat(a.is_contiguous()).isTrue();
    }
  }

  @Test
  void a_tensor_outlives_the_graph_that_its_memory_was_taken_in() {
    try (var _ = new PointerScope()) {
      Tensor kept;
      try (var _ = Scope.graph()) {
        kept = Scope.own(Scope.room(ones(1), 4).fill_(new Scalar(5)));
      }

      assertThat(kept.sum().item_double()).isEqualTo(20);
      kept.close();
    }
  }

  @Test
  void more_than_a_block_holds_goes_to_the_next_and_what_is_larger_has_memory_of_its_own() {
    try (var _ = Scope.graph()) {
      long third = SharedBlock.BYTES / 3;
      Tensor first = Scope.room(ones(1).to(ScalarType.Byte), third);
      Tensor second = Scope.room(ones(1).to(ScalarType.Byte), third);
      Tensor third3 = Scope.room(ones(1).to(ScalarType.Byte), third);
      Tensor large = Scope.room(ones(1).to(ScalarType.Byte), SharedBlock.BYTES);

      assertThat(second.storage().data().address()).isEqualTo(first.storage().data().address());
      assertThat(third3.storage().data().address()).isNotEqualTo(first.storage().data().address());
      assertThat(large.storage().nbytes()).isEqualTo(SharedBlock.BYTES);
    }
  }

  @Test
  void a_frame_of_scratch_memory_is_used_again_by_the_next_and_not_by_one_inside_of_it() {
    try (var _ = Scope.graph()) {
      long before;
      try (var outer = Scratch.frame()) {
        Tensor a = outer.empty(ScalarType.Float, ones(1), 10).fill_(new Scalar(1));
        before = a.data_ptr().address();
        try (var inner = Scratch.frame()) {
          inner.empty(ScalarType.Float, ones(1), 10).fill_(new Scalar(2));
        }

        assertThat(a.sum().item_double()).isEqualTo(10);
      }
      try (var next = Scratch.frame()) {
        assertThat(next.empty(ScalarType.Float, ones(1), 3).data_ptr().address()).isEqualTo(before);
      }
    }
  }

  @Test
  void a_transposed_weight_is_widened_in_the_order_that_it_has() {
    try (var _ = Scope.graph();
        var scratch = Scratch.frame()) {
      Tensor stored = arange(new Scalar(12)).view(3, 4).to(ScalarType.BFloat16);

      Tensor wide = scratch.as(stored.t(), ScalarType.Float);

      assertThat(wide.t().is_contiguous()).isTrue();
      assertThat(wide.equal(stored.t().to(ScalarType.Float))).isTrue();
    }
  }

  @Test
  void what_a_custom_function_keeps_is_copied_before_it_is_written_to() {
    try (var _ = Scope.graph()) {
      Tensor x = ones(4).set_requires_grad(true);
      Tensor y =
          CustomFunction.apply(
              List.of(x),
              List.of(),
              () -> x.detach().mul(new Scalar(2)),
              (g, _) -> List.of(g.mul(new Scalar(2))));

      assertThat(Scope.writable(y).data_ptr().address()).isEqualTo(y.data_ptr().address());
      CustomFunction.join(y.clone(), List.of(y), List.of(y), (g, _) -> List.of(g));

      assertThat(Scope.writable(y).data_ptr().address()).isNotEqualTo(y.data_ptr().address());
      assertThat(Scope.writable(x).data_ptr().address()).isNotEqualTo(x.data_ptr().address());
    }
  }

  @Test
  void a_backward_refuses_what_was_written_to_after_it_was_kept() {
    try (var _ = Scope.graph()) {
      Tensor x = ones(4).set_requires_grad(true);
      Tensor kept = ones(4);
      Tensor y =
          CustomFunction.apply(
              List.of(x),
              List.of(kept),
              () -> x.detach().mul(kept),
              (g, saved) -> List.of(g.mul(saved.getFirst())));

      kept.add_(new Scalar(1));

      assertThatThrownBy(() -> y.sum().backward())
          .hasMessageContaining("written to after forward kept it");
    }
  }
}
