package espalier.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.models.ModelInputs;
import espalier.nn.Rows;
import espalier.nn.Scope;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.NoGradGuard;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GeneratorTest {

  private static final Prompt A = Prompt.of(5, 20, 99, 39, 36, 100, 40);
  private static final Prompt B = Prompt.of(14, 36, 9);
  private static final Prompt C = Prompt.of(95);
  private static final Sampling GREEDY = Sampling.greedy().withMaxNewTokens(12);

  private TinyModel tiny;
  private Generator generator;

  @BeforeEach
  void load() throws IOException {
    tiny = new TinyModel("llama");
    generator = tiny.generator();
  }

  @AfterEach
  void close() {
    tiny.close();
  }

  @Test
  void a_batch_of_unequal_prompts_says_what_each_says_alone() {
    List<Generation> together = generator.generate(List.of(A, B, C), GREEDY);

    assertThat(together)
        .containsExactly(
            generator.generate(A, GREEDY),
            generator.generate(B, GREEDY),
            generator.generate(C, GREEDY));
    assertThat(together).extracting(Generation::promptTokens).containsExactly(7, 3, 1);
  }

  @Test
  void tokens_with_the_cache_are_those_of_reading_the_whole_text_again_each_time() {
    int[] expected = new int[12];
    int[] text = Arrays.copyOf(A.ids(), A.ids().length + expected.length);
    for (int i = 0; i < expected.length; i++) {
      expected[i] = argmax(Arrays.copyOf(text, A.ids().length + i));
      text[A.ids().length + i] = expected[i];
    }

    assertThat(generator.generate(A, GREEDY).ids()).isEqualTo(expected);
  }

  private int argmax(int[] ids) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      long[] row = Arrays.stream(ids).asLongStream().toArray();
      return (int)
          tiny.model()
              .logits(ModelInputs.of(tensor(row).unsqueeze(0)))
              .select(1, row.length - 1)
              .argmax()
              .item_long();
    }
  }

  @Test
  void rows_that_end_early_leave_the_others_as_they_are() {
    List<Prompt> prompts = List.of(A, B, C, A, B);
    List<Sampling> lengths =
        Stream.of(2, 12, 1, 9, 4).map(n -> GREEDY.withMaxNewTokens(n)).toList();

    List<Generation> together = generator.generate(prompts, lengths, TokenListener.NONE);

    for (int row = 0; row < prompts.size(); row++) {
      assertThat(together.get(row))
          .isEqualTo(generator.generate(prompts.get(row), lengths.get(row)));
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"gemma3_text", "gpt2", "opt", "t5"})
  void rows_that_end_early_leave_the_others_as_they_are_in_every_kind_of_model(String family)
      throws IOException {
    Sampling penalised = GREEDY.withRepetitionPenalty(1.8);
    List<Sampling> lengths = Stream.of(2, 12, 5, 9).map(penalised::withMaxNewTokens).toList();
    try (var other = new TinyModel(family)) {
      Generator writer = other.generator();

      List<Generation> together = writer.generate(List.of(A, B, C, B), lengths, TokenListener.NONE);

      assertThat(together.get(1)).isEqualTo(writer.generate(B, lengths.get(1)));
      assertThat(together.get(3)).isEqualTo(writer.generate(B, lengths.get(3)));
    }
  }

  @Test
  void rows_of_several_adapters_say_what_each_adapter_says_alone() {
    tiny.attach("french", 1);
    tiny.attach("legal", 2);
    List<Prompt> mixed =
        List.of(A.with("french"), B.with(Rows.BASE), C.with("legal"), A.with("legal"), B);

    List<Generation> together = generator.generate(mixed, GREEDY);

    tiny.activate("french");
    assertThat(together.get(0)).isEqualTo(generator.generate(A, GREEDY));
    tiny.activate("legal");
    assertThat(together.get(2)).isEqualTo(generator.generate(C, GREEDY));
    assertThat(together.get(3)).isEqualTo(generator.generate(A, GREEDY));
    tiny.activate();
    assertThat(together.get(1)).isEqualTo(generator.generate(B, GREEDY));
    assertThat(together.get(4)).isEqualTo(together.get(1));
    assertThat(together.get(0)).isNotEqualTo(together.get(3));
  }

  @Test
  void adapters_stay_with_their_rows_when_others_leave() {
    tiny.attach("french", 1);
    tiny.attach("legal", 2);
    List<Prompt> mixed = List.of(A.with(Rows.BASE), B.with("french"), C.with("legal"));
    List<Sampling> lengths =
        List.of(GREEDY.withMaxNewTokens(1), GREEDY.withMaxNewTokens(2), GREEDY);

    List<Generation> together = generator.generate(mixed, lengths, TokenListener.NONE);

    assertThat(together.get(2)).isEqualTo(generator.generate(C.with("legal"), GREEDY));
  }

  @Test
  void a_prompt_without_an_adapter_means_the_active_one_in_a_mixed_batch_too() {
    tiny.attach("french", 1);
    tiny.attach("legal", 2);
    tiny.activate("french");

    List<Generation> together = generator.generate(List.of(A, A.with("legal")), GREEDY);

    assertThat(together.get(0)).isEqualTo(generator.generate(A, GREEDY));
    assertThat(together.get(0)).isEqualTo(generator.generate(A.with("french"), GREEDY));
    assertThat(together.get(1)).isNotEqualTo(together.get(0));
  }

  @Test
  void several_active_adapters_can_not_stand_for_a_row() {
    tiny.attach("french", 1);
    tiny.attach("legal", 2);
    tiny.activate("french", "legal");

    assertThatThrownBy(() -> generator.generate(List.of(A, A.with("legal")), GREEDY))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "a prompt without an adapter means those that are active, but rows of a mixed batch"
                + " have one each and [french, legal] are active; name one, or Rows.BASE for none");
  }

  @Test
  void the_names_of_the_rows_are_checked_before_anything_runs() {
    var checking =
        Generator.of(
            tiny.model(),
            tiny.tokenizer(),
            names -> {
              throw new IllegalArgumentException("no such adapter in " + names);
            });

    assertThatThrownBy(() -> checking.generate(List.of(A.with("frnech"), B), GREEDY))
        .hasMessage("no such adapter in [frnech, __base__]");
  }

  @Test
  void a_seed_gives_the_same_text_again_alone_or_in_a_batch() {
    Sampling sampling = Sampling.defaults().withMaxNewTokens(12).withTemperature(2).withSeed(4);

    Generation first = generator.generate(A, sampling);
    List<Generation> batch = generator.generate(List.of(C, A, B), sampling);

    assertThat(generator.generate(A, sampling)).isEqualTo(first);
    assertThat(batch.get(1)).isEqualTo(first);
    assertThat(generator.generate(A, sampling.withSeed(5))).isNotEqualTo(first);
  }

  @Test
  void rows_may_have_settings_of_their_own() {
    Sampling warm = Sampling.defaults().withMaxNewTokens(8).withTemperature(2);

    List<Generation> together =
        generator.generate(
            List.of(A, A, A),
            List.of(GREEDY, warm.withSeed(1), warm.withSeed(2)),
            TokenListener.NONE);

    assertThat(together.get(0)).isEqualTo(generator.generate(A, GREEDY));
    assertThat(together.get(1)).isEqualTo(generator.generate(A, warm.withSeed(1)));
    assertThat(together.get(2)).isEqualTo(generator.generate(A, warm.withSeed(2)));
  }

  @Test
  void a_stop_string_ends_a_row_before_it() {
    Generation whole = generator.generate(A, GREEDY);
    String stop = whole.text().substring(3, 5);

    Generation stopped = generator.generate(A, GREEDY.withStop(stop));

    assertThat(stopped.reason()).isEqualTo(FinishReason.STOP_STRING);
    assertThat(stopped.text()).isEqualTo(whole.text().substring(0, whole.text().indexOf(stop)));
    assertThat(stopped.ids()).hasSizeLessThan(whole.ids().length);
    assertThat(whole.ids()).startsWith(stopped.ids());
  }

  @Test
  void pieces_of_a_row_joined_are_its_text_and_each_token_is_told_once() {
    Sampling sampling =
        Sampling.defaults().withTemperature(5).withMaxNewTokens(30).withTopK(0).withStop("zz");
    var texts = List.of(new StringBuilder(), new StringBuilder(), new StringBuilder());
    var ids = List.of(new ArrayList<Integer>(), new ArrayList<Integer>(), new ArrayList<Integer>());

    List<Generation> generations =
        generator.generate(
            List.of(A, B, C),
            sampling,
            (row, id, piece) -> {
              texts.get(row).append(piece);
              ids.get(row).add(id);
            });

    for (int row = 0; row < 3; row++) {
      assertThat(texts.get(row).toString()).isEqualTo(generations.get(row).text());
      assertThat(ids.get(row)).containsExactly(boxed(generations.get(row).ids()));
    }
  }

  @Test
  void the_end_token_ends_a_row() {
    // so hot that all 128 tokens are about equally likely
    Sampling sampling = Sampling.defaults().withTopK(0).withTemperature(50).withMaxNewTokens(4);

    List<Generation> drawn =
        generator.generate(
            Stream.generate(() -> B).limit(200).toList(),
            Stream.iterate(0L, seed -> seed + 1).limit(200).map(sampling::withSeed).toList(),
            TokenListener.NONE);

    List<Generation> ended =
        drawn.stream().filter(each -> each.reason() == FinishReason.END).toList();
    assertThat(ended).isNotEmpty();
    assertThat(ended)
        .allSatisfy(
            each -> {
              assertThat(each.ids()).endsWith(TinyTokenizer.EOS);
              assertThat(each.text()).doesNotContain("</s>");
            });
    assertThat(drawn)
        .filteredOn(each -> each.reason() == FinishReason.LENGTH)
        .allSatisfy(each -> assertThat(each.ids()).hasSize(4).doesNotContain(TinyTokenizer.EOS));
  }

  @Test
  void a_prompt_that_fills_the_context_to_its_end_is_continued() {
    int[] ids = new int[60];
    Arrays.fill(ids, 7);

    Generation four = generator.generate(Prompt.of(ids), GREEDY.withMaxNewTokens(4));

    assertThat(four.ids()).hasSize(4);
  }

  @Test
  void a_prompt_that_does_not_fit_is_refused_with_both_numbers() {
    int[] ids = new int[60];

    assertThatThrownBy(() -> generator.generate(List.of(A, Prompt.of(ids)), GREEDY))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "prompt 1 has 60 tokens and maxNewTokens is 12, together 72, but llama has 64"
                + " positions; shorten the prompt or set maxNewTokens to 4");
  }

  @Test
  void an_empty_prompt_is_refused() {
    assertThatThrownBy(() -> generator.generate(List.of(A, Prompt.of()), GREEDY))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "prompt 1 has no tokens but at least one is needed; give a text or the BOS token");
  }

  @Test
  void no_prompts_give_no_generations() {
    assertThat(generator.generate(List.of(), GREEDY)).isEmpty();
  }

  @Test
  void a_model_in_training_mode_is_refused() {
    tiny.model().train(true);

    assertThatThrownBy(() -> generator.generate(A, GREEDY))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage(
            "the model is in training mode, where dropout would garble what it writes; call"
                + " train(false) first");
  }

  @Test
  void an_interrupt_ends_all_rows_where_they_are() {
    List<Generation> cut =
        generator.generate(
            List.of(A, B),
            GREEDY,
            (row, _, _) -> {
              if (row == 1) {
                Thread.currentThread().interrupt();
              }
            });

    assertThat(Thread.interrupted()).isTrue();
    assertThat(cut)
        .allSatisfy(
            each -> {
              assertThat(each.reason()).isEqualTo(FinishReason.CANCELLED);
              assertThat(each.ids()).hasSize(1);
            });
  }

  @Test
  void what_the_listener_throws_ends_the_call() {
    assertThatThrownBy(
            () ->
                generator.generate(
                    List.of(A),
                    GREEDY,
                    (_, _, _) -> {
                      throw new IllegalStateException("gone");
                    }))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage("gone");
    assertThat(generator.generate(A, GREEDY).ids()).hasSize(12);
  }

  @Test
  void native_handles_do_not_grow_in_number() {
    Sampling all = GREEDY.withRepetitionPenalty(1.2).withMinNewTokens(3).withStop("zz");
    List<Sampling> each = List.of(all, all.withTemperature(1), GREEDY.withMaxNewTokens(2));
    generator.generate(List.of(A, B, C), each, TokenListener.NONE);
    long before = Pointer.totalCount();

    for (int i = 0; i < 3; i++) {
      generator.generate(List.of(A, B, C), each, TokenListener.NONE);
    }

    assertThat(Pointer.totalCount()).isLessThanOrEqualTo(before);
  }

  @Test
  void a_text_becomes_a_prompt_by_the_tokenizer() {
    assertThat(generator.prompt("Hi!").ids()).isEqualTo(tiny.tokenizer().encode("Hi!", true));
  }

  private static Integer[] boxed(int[] ids) {
    return Arrays.stream(ids).boxed().toArray(Integer[]::new);
  }
}
