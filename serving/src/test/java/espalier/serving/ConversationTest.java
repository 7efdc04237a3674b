package espalier.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.nn.Rows;
import espalier.text.Message;
import java.io.IOException;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class ConversationTest {

  private static final Sampling GREEDY = Sampling.greedy().withMaxNewTokens(6);

  private TinyModel tiny;
  private Generator generator;
  private Conversation talk;

  @BeforeEach
  void start() throws IOException {
    tiny = new TinyModel("llama");
    generator = tiny.generator();
    talk = generator.conversation();
  }

  @AfterEach
  void end() {
    talk.close();
    tiny.close();
  }

  private Generation say(String text) {
    return talk.say(text, GREEDY, TokenListener.NONE);
  }

  @Test
  void an_answer_is_what_the_rendered_conversation_continues_with() {
    Generation answer = say("hi");

    assertThat(answer).isEqualTo(generator.generate(generator.prompt("u:hi\na:"), GREEDY));
    assertThat(talk.messages())
        .containsExactly(Message.user("hi"), Message.assistant(answer.text()));
  }

  @Test
  void a_later_turn_reads_only_what_is_new_and_says_the_same_as_from_the_start() {
    say("hi");
    Generation second = say("so?");

    Generation anew = generator.generate(generator.prompt(talk.messages().subList(0, 3)), GREEDY);
    assertThat(second.ids()).isEqualTo(anew.ids());
    assertThat(second.cachedTokens()).isGreaterThanOrEqualTo("u:hi\na:".length());
    assertThat(second.promptTokens()).isEqualTo(anew.promptTokens());
    assertThat(anew.cachedTokens()).isZero();
  }

  @Test
  void the_system_message_stands_first_and_can_be_replaced() {
    talk.system("be");
    say("hi");
    talk.system("me");
    Generation answer = say("hi");

    assertThat(talk.messages().getFirst()).isEqualTo(Message.system("me"));
    // only the role of the first message is the same still
    assertThat(answer.cachedTokens()).isEqualTo("s:".length());
    assertThat(answer.ids())
        .isEqualTo(
            generator.generate(generator.prompt(talk.messages().subList(0, 4)), GREEDY).ids());
  }

  @Test
  void another_adapter_reads_the_conversation_from_the_start() {
    tiny.attach("legal", 1);
    say("hi");

    talk.adapter("legal");
    Generation answer = say("so?");

    assertThat(talk.adapter()).isEqualTo("legal");
    assertThat(answer.cachedTokens()).isZero();
    assertThat(answer)
        .isEqualTo(
            generator.generate(
                generator.prompt(talk.messages().subList(0, 3)).with("legal"), GREEDY));
  }

  @Test
  void the_same_adapter_named_again_keeps_the_memory() {
    tiny.attach("legal", 1);
    talk.adapter("legal");
    say("hi");

    talk.adapter("legal");

    assertThat(say("so?").cachedTokens()).isPositive();
  }

  @Test
  void adapters_that_are_switched_on_the_model_make_the_memory_void() {
    tiny.attach("legal", 1);
    say("hi");

    tiny.activate("legal");
    Generation answer = say("so?");

    assertThat(answer.cachedTokens()).isZero();
    tiny.activate();
    assertThat(talk.adapter()).isNull();
  }

  @Test
  void a_row_without_any_adapter_can_be_asked_for() {
    tiny.attach("legal", 1);
    Generation base = say("hi");
    talk.reset();
    tiny.activate("legal");

    talk.adapter(Rows.BASE);

    assertThat(say("hi")).isEqualTo(base);
  }

  @Test
  void reset_forgets_what_was_said_but_not_the_system_message() {
    talk.system("be");
    Generation first = say("hi");

    talk.reset();

    assertThat(talk.messages()).containsExactly(Message.system("be"));
    assertThat(say("hi")).isEqualTo(first);
  }

  @Test
  void what_fails_has_not_been_said() {
    say("hi");
    List<Message> before = talk.messages();

    assertThatThrownBy(
            () ->
                talk.say(
                    "so?",
                    GREEDY,
                    (_, _, _) -> {
                      throw new IllegalStateException("gone");
                    }))
        .hasMessage("gone");

    assertThat(talk.messages()).isEqualTo(before);
    Generation again = say("so?");
    assertThat(again.cachedTokens()).isZero();
    assertThat(again.ids())
        .isEqualTo(
            generator.generate(generator.prompt(talk.messages().subList(0, 3)), GREEDY).ids());
  }

  @Test
  void an_answer_is_as_long_as_the_context_still_allows() {
    // "u:" and "\na:" with 50 characters: 55 tokens of 64
    Generation answer = talk.say("x".repeat(50), GREEDY.withMaxNewTokens(40), TokenListener.NONE);

    assertThat(answer.ids()).hasSize(9);
    assertThat(answer.reason()).isEqualTo(FinishReason.LENGTH);
  }

  @Test
  void a_conversation_that_outgrows_the_context_says_so() {
    assertThatThrownBy(() -> say("x".repeat(80)))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage(
            "the conversation has 85 tokens with this message but llama has 64 positions; begin"
                + " anew with reset, or say less");
    assertThat(talk.messages()).isEmpty();
  }

  @Test
  void a_closed_conversation_can_go_on() {
    Generation first = say("hi");
    talk.close();

    Generation second = say("so?");

    assertThat(first.ids()).hasSize(6);
    assertThat(second.cachedTokens()).isZero();
    assertThat(second.ids())
        .isEqualTo(
            generator.generate(generator.prompt(talk.messages().subList(0, 3)), GREEDY).ids());
  }

  @Test
  void a_model_without_a_chat_template_is_not_made_for_it() throws IOException {
    try (var tokenizer = TinyTokenizer.make(null);
        var alone = Generator.of(tiny.model(), tokenizer, _ -> {}).conversation()) {

      assertThatThrownBy(() -> alone.say("hi", GREEDY, TokenListener.NONE))
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(
              "the model has no chat template, so it is not made for conversations; give a plain"
                  + " text, or take the model's -Instruct sibling");
    }
  }

  @Test
  void an_encoder_decoder_holds_no_conversation() throws IOException {
    try (var t5 = new TinyModel("t5")) {
      Generator answers = t5.generator();

      assertThatThrownBy(answers::conversation)
          .isInstanceOf(IllegalArgumentException.class)
          .hasMessage(
              "t5 reads each text anew with its encoder and holds no conversation; use generate");
    }
  }
}
