package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.randn;
import static org.bytedeco.pytorch.global.torch.tensor;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TokenIdsTest {

  private static final List<Integer> CALL = List.of(5, 6);

  private static long[] row(String ids) {
    return List.of(ids.split(" ")).stream().mapToLong(Long::parseLong).toArray();
  }

  private static TokenIds of(String... rows) {
    return TokenIds.of(List.of(rows).stream().map(TokenIdsTest::row).toArray(long[][]::new));
  }

  @ParameterizedTest
  @CsvSource({
    "1 5 6 2 5 6 9, 3",
    "5 6 0 0 0 0 0, 7",
    "1 2 3 4 5 5 5, 0",
    "0 0 0 0 0 5 6, 2",
    "5, 0",
    "5 5 6 5, 3",
  })
  void the_last_occurrence_counts_from_its_start_to_the_end(String ids, int offset) {
    int length = row(ids).length;

    long[] positions = of(ids).positions(CALL, 1, length);

    assertThat(positions).hasSize(offset);
    assertThat(positions.length == 0 || positions[0] == length - offset).isTrue();
  }

  @Test
  void a_layer_that_sees_the_newest_tokens_only_gets_the_positions_among_these() {
    TokenIds ids = of("1 5 6 2", "5 6 1 2", "1 2 3 4");

    assertThat(ids.positions(CALL, 3, 4)).containsExactly(1, 2, 3, 4, 5, 6, 7);
    assertThat(ids.positions(CALL, 3, 2)).containsExactly(0, 1, 2, 3);
    assertThat(ids.positions(CALL, 3, 1)).containsExactly(0, 1);
    assertThat(ids.missing(CALL)).isOne();
  }

  @Test
  void each_example_of_a_packed_row_has_a_call_of_its_own() {
    TokenIds ids =
        TokenIds.packed(
            new long[][] {{1, 5, 6, 2, 3, 4, 5, 6, 0}}, new long[][] {{4, 4, 4, 4, 6, 6, 8, 8, 0}});

    assertThat(ids.positions(CALL, 1, 9)).containsExactly(1, 2, 3, 6, 7);
    assertThat(ids.missing(CALL)).isOne();
  }

  @Test
  void a_call_is_not_looked_for_where_examples_share_tokens() {
    assertThatThrownBy(
            () -> TokenIds.packed(new long[][] {{1, 5, 6, 7}}, new long[][] {{4, 4, 3, 4}}))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("pack without sharing");
  }

  @Test
  void a_call_that_ends_behind_what_is_searched_does_not_count() {
    long[][] rows = {row("1 5 6 2 5 6")};

    assertThat(TokenIds.of(rows, new int[] {5}).positions(CALL, 1, 6)).hasSize(5);
    assertThat(TokenIds.of(rows, new int[] {6}).positions(CALL, 1, 6)).hasSize(2);
    assertThat(TokenIds.of(rows, new int[] {2}).positions(CALL, 1, 6)).isEmpty();
  }

  @Test
  void a_caller_may_say_the_positions_himself() {
    TokenIds said = TokenIds.offsets(3, 0, 9);

    assertThat(said.positions(CALL, 3, 4)).containsExactly(1, 2, 3, 8, 9, 10, 11);
    assertThat(said.positions(List.of(1), 3, 1)).containsExactly(0, 2);
  }

  @Test
  void a_selection_of_rows_answers_for_these() {
    var seen = new ArrayList<long[]>();
    TokenIds ids = of("1 5 6 2", "5 6 1 2", "1 2 3 4");

    boolean _ =
        ids.during(
            () ->
                TokenIds.forRows(
                    new long[] {2, 0},
                    () ->
                        TokenIds.forRows(
                            new long[] {1},
                            () ->
                                seen.add(
                                    Objects.requireNonNull(TokenIds.current())
                                        .positions(CALL, 1, 4)))));

    assertThat(seen.getFirst()).containsExactly(1, 2, 3);
    assertThat(TokenIds.current()).isNull();
  }

  @Test
  void an_input_with_other_rows_is_refused() {
    assertThatThrownBy(() -> of("1 5 6").positions(CALL, 2, 3))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("2 rows but the forward has 1");
  }

  @Test
  void ids_are_read_from_any_layout() {
    try (var _ = Scope.open()) {
      Tensor ids = tensor(1L, 2, 3, 4, 5, 6).view(3, 2).t();

      assertThat(TokenIds.rows(ids)).isDeepEqualTo(new long[][] {{1, 3, 5}, {2, 4, 6}});
    }
  }

  @Test
  void backward_computes_a_block_again_over_the_tokens_of_its_own_forward() {
    var seen = new ArrayList<Integer>();
    try (var _ = Scope.graph()) {
      Tensor x = randn(1, 3).set_requires_grad(true);
      Tensor one = recorded(of("5 6 1"), x, seen);
      Tensor two = recorded(of("1 5 6"), x, seen);

      one.add(two).sum().backward();
    }

    assertThat(seen).hasSize(4).startsWith(3, 2);
    assertThat(seen.subList(2, 4)).containsExactlyInAnyOrder(3, 2);
  }

  private static Tensor recorded(TokenIds ids, Tensor x, List<Integer> seen) {
    return ids.during(
        () ->
            Recompute.in(
                x,
                h -> {
                  TokenIds now = Objects.requireNonNull(TokenIds.current());
                  seen.add(now.positions(CALL, 1, 3).length);
                  return h.sin();
                }));
  }
}
