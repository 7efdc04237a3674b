package espalier.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.bytedeco.pytorch.global.torch.cat;
import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.models.KvCache;
import espalier.models.Model;
import espalier.models.ModelInputs;
import espalier.nn.Rows;
import espalier.nn.Scope;
import espalier.nn.TokenIds;
import java.io.IOException;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** Activated adapters on a whole model: beside its cache, in generation, with checkpointing. */
class ActivatedAdapterTest {

  private static final int[] PREFIX = {7, 31, 12, 9, 25};
  private static final int[] CALL = {77, 78};
  private static final int[] TEXT = {7, 31, 12, 9, 25, 77, 78, 14, 38};
  private static final Sampling GREEDY = Sampling.greedy().withMaxNewTokens(8);

  private TinyModel tiny;
  private Model model;
  private Adapters adapters;
  private Scope scope;

  @BeforeEach
  void load() throws IOException {
    tiny = new TinyModel("llama");
    model = tiny.model();
    adapters = Adapters.of(model, ModelFacts.of("llama"));
    adapters.attach("judge", config(77, 78), AttachOptions.seeded(1));
    scope = Scope.graph();
  }

  @AfterEach
  void close() {
    scope.close();
    tiny.close();
  }

  private static LoraConfig config(Integer... tokens) {
    return LoraConfig.builder()
        .r(4)
        .alpha(32)
        .init(new LoraInit.Unset())
        .targets(Targets.named("q_proj", "k_proj", "v_proj", "down_proj"))
        .variant(
            tokens.length == 0 ? new LoraVariant.Plain() : new LoraVariant.Alora(List.of(tokens)))
        .build();
  }

  private static Tensor ids(int... row) {
    return tensor(Arrays.stream(row).asLongStream().toArray()).view(1, row.length);
  }

  private static int[] joined(int[]... parts) {
    return Arrays.stream(parts).flatMapToInt(Arrays::stream).toArray();
  }

  private Tensor logits(int... text) {
    try (var _ = new NoGradGuard()) {
      return model.logits(ModelInputs.of(ids(text)));
    }
  }

  private Tensor next(KvCache cache, int... text) {
    try (var _ = new NoGradGuard()) {
      return model.logits(ModelInputs.next(ids(text), null, cache));
    }
  }

  private Tensor base(KvCache cache, int... text) {
    try (var _ = adapters.disable()) {
      return next(cache, text);
    }
  }

  private static double gap(Tensor a, Tensor b) {
    return a.sub(b).abs().max().item_double();
  }

  // ---- where it acts

  @Test
  void logits_before_the_call_are_those_of_the_base_bit_for_bit() {
    Tensor with = logits(TEXT);
    Tensor without;
    try (var _ = adapters.disable()) {
      without = logits(TEXT);
    }

    assertThat(with.narrow(1, 0, 5).equal(without.narrow(1, 0, 5))).isTrue();
    assertThat(gap(with.narrow(1, 5, 4), without.narrow(1, 5, 4))).isGreaterThan(0.1);
  }

  @Test
  void a_text_without_the_call_is_the_bases() {
    Tensor with = logits(PREFIX);

    try (var _ = adapters.disable()) {
      assertThat(logits(PREFIX).equal(with)).isTrue();
    }
  }

  @Test
  void offsets_that_the_caller_says_take_the_place_of_the_call() {
    Tensor said = TokenIds.offsets(4).during(() -> logits(TEXT));

    assertThat(said.equal(logits(TEXT))).isTrue();
    assertThat(gap(TokenIds.offsets(0).during(() -> logits(TEXT)), said)).isGreaterThan(0.1);
  }

  // ---- learning

  @Test
  void gradients_with_checkpointing_are_the_same_also_of_two_forwards_before_one_backward() {
    int[] other = {77, 78, 5, 6, 7, 8, 9, 10, 11};
    Map<String, Tensor> kept = gradients(false, other);
    Map<String, Tensor> again = gradients(true, other);

    kept.forEach(
        (name, g) -> {
          assertThat(g.any().item_bool()).as(name).isTrue();
          assertThat(gap(again.getOrDefault(name, g.neg()), g))
              .as(name)
              .isLessThan(1e-5 * (1 + g.abs().max().item_double()));
        });
  }

  private Map<String, Tensor> gradients(boolean checkpointing, int[] other) {
    model.gradientCheckpointing(checkpointing);
    Tensor one = model.logits(ModelInputs.of(ids(TEXT))).log_softmax(-1).select(-1, 3).mean();
    Tensor two = model.logits(ModelInputs.of(ids(other))).log_softmax(-1).select(-1, 3).mean();
    one.add(two).backward();
    var gradients = new LinkedHashMap<String, Tensor>();
    adapters
        .parameters()
        .forEach(
            (name, p) -> {
              gradients.put(name, p.grad().clone());
              p.mutable_grad().reset();
            });
    return gradients;
  }

  @Test
  void packed_examples_are_computed_as_each_alone() {
    int[] two = {3, 77, 78, 4};
    Tensor segments = ids(IntStream.range(0, 13).map(i -> i < 9 ? 1 : 2).toArray());
    try (var _ = new NoGradGuard()) {
      Tensor packed = model.logits(ModelInputs.packed(ids(joined(TEXT, two)), segments));

      assertThat(gap(packed.narrow(1, 0, 9), logits(TEXT))).isLessThan(1e-3);
      assertThat(gap(packed.narrow(1, 9, 4), logits(two))).isLessThan(1e-3);
    }
  }

  // ---- beside a cache

  @Test
  void keys_and_values_before_the_call_are_the_bases_bit_for_bit() {
    try (KvCache ofBase = model.newCache(16);
        KvCache ofAdapter = model.newCache(16)) {
      Tensor _ = base(ofBase, TEXT);
      Tensor _ = next(ofAdapter, TEXT);

      ofBase.truncate(5);
      ofAdapter.truncateToBase();

      assertThat(ofAdapter.length()).isEqualTo(5);
      assertThat(next(ofAdapter, CALL).equal(next(ofBase, CALL))).isTrue();
      assertThat(ofAdapter.writers(0, 4)).isEmpty();
      assertThat(ofAdapter.writers(0, 5)).containsExactly("judge");
      assertThat(ofAdapter.writers(0, 9)).isEmpty();
    }
  }

  @Test
  void what_was_written_under_a_merged_adapter_is_not_the_bases() {
    adapters.allowMixedMethods();
    adapters.add(
        "whole",
        LoraConfig.builder().init(new LoraInit.Unset()).targets(Targets.named("q_proj")).build(),
        AttachOptions.seeded(3));
    try (KvCache cache = model.newCache(16)) {
      Tensor _ = base(cache, PREFIX);
      adapters.merge(List.of("whole"), false);
      cache.force(true);
      Tensor _ = next(cache, 4, 9); // which do not call the judge

      assertThat(cache.writers(0, PREFIX.length)).containsExactly("whole");
      cache.truncateToBase();

      assertThat(cache.length()).isEqualTo(PREFIX.length);
    }
  }

  @Test
  void an_adapter_goes_on_where_the_base_has_stopped() {
    try (KvCache cache = model.newCache(4)) {
      Tensor _ = base(cache, PREFIX);

      Tensor called = next(cache, joined(CALL, new int[] {14}));
      Tensor after = next(cache, 38);

      Tensor whole = logits(TEXT);
      assertThat(gap(called, whole.narrow(1, 5, 3))).isLessThan(1e-3);
      assertThat(gap(after, whole.narrow(1, 8, 1))).isLessThan(1e-3);
    }
  }

  @Test
  void copies_of_a_prefix_go_their_own_ways() {
    adapters.add("critic", config(79), AttachOptions.seeded(2));
    try (KvCache prefix = model.newCache(16)) {
      Tensor _ = base(prefix, PREFIX);
      try (KvCache judged = prefix.copy();
          KvCache criticised = prefix.copy()) {
        Tensor judge = next(judged, CALL);
        adapters.setActive(List.of("critic"), true);
        Tensor critic = next(criticised, 79);
        Tensor plain = base(prefix, CALL);

        assertThat(gap(critic, logits(joined(PREFIX, new int[] {79})).narrow(1, 5, 1)))
            .isLessThan(1e-3);
        adapters.setActive(List.of("judge"), true);
        assertThat(gap(judge, logits(joined(PREFIX, CALL)).narrow(1, 5, 2))).isLessThan(1e-3);
        try (var _ = adapters.disable()) {
          assertThat(gap(plain, logits(joined(PREFIX, CALL)).narrow(1, 5, 2))).isLessThan(1e-3);
        }
      }
    }
  }

  @Test
  void the_base_does_not_read_what_an_adapter_wrote_unless_forced() {
    try (KvCache cache = model.newCache(16)) {
      Tensor _ = next(cache, TEXT);

      assertThatThrownBy(() -> base(cache, 4))
          .isInstanceOf(IllegalStateException.class)
          .hasMessage(
              "position 5 of row 0 in the cache was written by [judge] but the base acts there now;"
                  + " truncate the cache to 5 and read those tokens again, or allow it with"
                  + " force(true)");
      assertThat(cache.length()).isEqualTo(9);

      cache.force(true);
      assertThat(base(cache, 4).isfinite().all().item_bool()).isTrue();
      cache.truncateToBase();
      cache.force(false);
      assertThat(gap(base(cache, 77), baseLogits(joined(PREFIX, new int[] {77})))).isLessThan(1e-3);
    }
  }

  private Tensor baseLogits(int[] text) {
    try (var _ = adapters.disable()) {
      return logits(text).narrow(1, text.length - 1, 1);
    }
  }

  @Test
  void a_plain_adapter_reads_only_what_it_wrote() {
    adapters.add("french", config(), AttachOptions.seeded(3));
    try (KvCache cache = model.newCache(16)) {
      Tensor _ = base(cache, PREFIX);
      adapters.setActive(List.of("french"), true);

      assertThatThrownBy(() -> next(cache, 4)).hasMessageContaining("[french] acts there now");
      cache.truncate(0);
      Tensor _ = next(cache, PREFIX);
      assertThat(gap(next(cache, 4), logits(joined(PREFIX, new int[] {4})).narrow(1, 5, 1)))
          .isLessThan(1e-3);
      assertThat(cache.writers(0, 0)).containsExactly("french");
    }
  }

  @Test
  void a_second_call_makes_what_the_first_one_adapted_useless() {
    try (KvCache cache = model.newCache(16)) {
      Tensor _ = next(cache, TEXT);

      assertThatThrownBy(() -> next(cache, CALL)).hasMessageContaining("position 5 of row 0");
      cache.truncateToBase();

      int[] text = joined(TEXT, CALL);
      Tensor again = next(cache, Arrays.copyOfRange(text, 5, text.length));
      assertThat(gap(again, logits(text).narrow(1, 5, 6))).isLessThan(1e-3);
    }
  }

  @Test
  void a_call_that_the_base_has_read_in_part_must_be_read_again() {
    try (KvCache cache = model.newCache(16)) {
      Tensor _ = base(cache, joined(PREFIX, new int[] {77}));

      assertThatThrownBy(() -> next(cache, 78)).hasMessageContaining("truncate the cache to 5");
    }
  }

  @Test
  void the_record_follows_rows_that_are_chosen_and_stacked() {
    try (KvCache judged = model.newCache(16);
        KvCache plain = model.newCache(16)) {
      Tensor _ = next(judged, TEXT);
      Tensor _ = next(plain, PREFIX);
      try (KvCache both = KvCache.stacked(List.of(plain, judged))) {
        assertThat(both.writers(1, 5)).containsExactly("judge");
        assertThat(both.writers(0, 8)).isEmpty();
        both.select(1, 0, 1);
        assertThat(both.writers(0, 5)).containsExactly("judge");
        assertThat(both.writers(1, 5)).isEmpty();
        both.select(1);
        both.truncateToBase();
        assertThat(both.length()).isEqualTo(9);
      }
    }
  }

  // ---- generation

  @Test
  void generated_tokens_are_those_of_reading_the_whole_text_each_time() {
    int[] text = TEXT;
    int[] expected = new int[8];
    for (int i = 0; i < expected.length; i++) {
      // What is generated calls nobody, so the place of the call is said.
      int[] soFar = text;
      Tensor scores = TokenIds.offsets(soFar.length - 5).during(() -> logits(soFar));
      expected[i] = (int) scores.select(1, soFar.length - 1).argmax().item_long();
      text = joined(text, new int[] {expected[i]});
    }

    assertThat(tiny.generator().generate(Prompt.of(TEXT), GREEDY).ids()).isEqualTo(expected);
  }

  @Test
  void a_call_that_the_model_writes_itself_calls_nobody() {
    try (KvCache cache = model.newCache(16)) {
      Tensor _ = next(cache, PREFIX);
      cache.endInvocations();

      Tensor _ = next(cache, 77);
      Tensor plain = next(cache, 78);
      cache.truncate(5);
      cache.resumeInvocations();
      Tensor called = next(cache, CALL);

      assertThat(gap(plain, baseLogits(joined(PREFIX, CALL)))).isLessThan(1e-3);
      assertThat(gap(called.narrow(1, 1, 1), plain)).isGreaterThan(0.1);
    }
  }

  @Test
  void rows_of_a_batch_say_what_each_says_alone() {
    adapters.add("critic", config(79), AttachOptions.seeded(2));
    adapters.add("french", config(), AttachOptions.seeded(3));
    Generator generator =
        Generator.of(
            model, tiny.tokenizer(), names -> adapters.mixed(names, names.size(), () -> 0));
    List<Prompt> prompts =
        List.of(
            Prompt.of(TEXT).with("judge"),
            Prompt.of(joined(new int[] {79}, TEXT)).with("critic"),
            Prompt.of(TEXT).with("french"),
            Prompt.of(PREFIX).with("judge"),
            Prompt.of(TEXT).with(Rows.BASE));

    List<Generation> together = generator.generate(prompts, GREEDY);

    for (int i = 0; i < prompts.size(); i++) {
      assertThat(together.get(i)).isEqualTo(generator.generate(prompts.get(i), GREEDY));
    }
    assertThat(together.get(0).ids()).isNotEqualTo(together.get(4).ids());
  }

  @Test
  void a_text_that_the_base_wrote_is_judged_without_being_read_again() {
    Generator generator =
        Generator.of(
            model, tiny.tokenizer(), names -> adapters.mixed(names, names.size(), () -> 0));
    try (KvCache cache = model.newCache(32);
        var _ = new NoGradGuard()) {
      Prompt asked = Prompt.of(PREFIX).with(Rows.BASE);
      Generation answer =
          generator
              .run(List.of(asked), List.of(GREEDY), List.of(Rows.BASE), cache, TokenListener.NONE)
              .getFirst();
      int[] text = joined(PREFIX, answer.ids(), CALL);

      cache.truncate(model.reusable(cache, text));
      Prompt judged = Prompt.of(text);
      Generation verdict =
          generator
              .run(List.of(judged), List.of(GREEDY), null, cache, TokenListener.NONE)
              .getFirst();

      assertThat(verdict.cachedTokens()).isEqualTo(text.length - CALL.length - 1);
      assertThat(verdict.ids()).isEqualTo(generator.generate(judged, GREEDY).ids());
    }
  }

  @Test
  void in_a_conversation_the_adapter_reads_only_from_its_call_on() {
    Generator generator =
        Generator.of(
            model, tiny.tokenizer(), names -> adapters.mixed(names, names.size(), () -> 0));
    Integer[] call =
        Arrays.stream(tiny.tokenizer().encode("a:", false)).boxed().toArray(Integer[]::new);
    adapters.add("answering", config(call), AttachOptions.seeded(4));
    try (Conversation talk = generator.conversation()) {
      talk.adapter(Rows.BASE);
      Generation ofBase = talk.say("hi", GREEDY, TokenListener.NONE);
      talk.adapter("answering");
      Generation ofAdapter = talk.say("so?", GREEDY, TokenListener.NONE);

      Prompt whole = generator.prompt(talk.messages().subList(0, 3)).with("answering");
      assertThat(ofBase.cachedTokens()).isZero();
      assertThat(ofAdapter.cachedTokens()).isGreaterThanOrEqualTo("u:hi\na:".length());
      assertThat(ofAdapter.ids()).isEqualTo(generator.generate(whole, GREEDY).ids());
      assertThat(ofAdapter.ids())
          .isNotEqualTo(generator.generate(whole.with(Rows.BASE), GREEDY).ids());
    }
  }

  @Test
  void rows_with_the_call_at_different_places_are_padded_on_the_left() {
    var rows = new TensorVector();
    rows.push_back(ids(TEXT));
    rows.push_back(ids(joined(new int[] {0, 0, 0, 0}, CALL, new int[] {3, 4, 5})));
    Tensor mask =
        ids(IntStream.range(0, 18).map(i -> i >= 9 && i < 13 ? 0 : 1).toArray()).view(2, 9);
    try (var _ = new NoGradGuard()) {
      Tensor both = model.logits(ModelInputs.of(cat(rows, 0), mask));

      assertThat(gap(both.narrow(0, 0, 1), logits(TEXT))).isLessThan(1e-3);
      assertThat(
              gap(both.narrow(0, 1, 1).narrow(1, 4, 5), logits(joined(CALL, new int[] {3, 4, 5}))))
          .isLessThan(1e-3);
    }
  }
}
