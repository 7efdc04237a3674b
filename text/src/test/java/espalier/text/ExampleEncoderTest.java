package espalier.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.io.IOException;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class ExampleEncoderTest {

  private static final List<Message> TALK =
      List.of(
          Message.system("Be brief."),
          Message.user("hello 😀?"),
          Message.assistant("hello 日本!"),
          Message.user("bye"),
          Message.assistant("bye"));

  private final Tokenizer tokenizer = Tokenizer.load(TestFolders.byteLevel());
  private final Tokenizer pieces = Tokenizer.load(TestFolders.sentencepiece());

  @AfterEach
  void close() {
    tokenizer.close();
    pieces.close();
  }

  @Test
  void only_what_the_assistant_says_is_learned() {
    Example example = new ExampleEncoder(tokenizer, false).messages(TALK);

    assertThat(tokenizer.decode(example.ids(), false))
        .isEqualTo(
            """
            <|im_start|>system
            Be brief.<|im_end|>
            <|im_start|>user
            hello 😀?<|im_end|>
            <|im_start|>assistant
            hello 日本!<|im_end|>
            <|im_start|>user
            bye<|im_end|>
            <|im_start|>assistant
            bye<|im_end|>
            """);
    assertThat(learned(tokenizer, example)).isEqualTo("hello 日本!<|im_end|>\nbye<|im_end|>\n");
  }

  @Test
  void everything_is_learned_where_asked() {
    Example example = new ExampleEncoder(tokenizer, true).messages(TALK);

    assertThat(example.labels()).isEqualTo(example.ids());
    assertThat(example.labelled()).isEqualTo(example.length() - 1);
  }

  @Test
  void marks_of_the_template_are_followed() throws IOException {
    String template =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
            + "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
            + "{% else %}{{ m.content }}<|im_end|>{% endif %}{{ '\\n' }}{% endfor %}";

    try (Tokenizer marking = with(template)) {
      Example example = new ExampleEncoder(marking, false).messages(TALK);

      assertThat(learned(marking, example)).isEqualTo("hello 日本!<|im_end|>bye<|im_end|>");
    }
  }

  @Test
  void with_marks_history_may_be_rewritten() throws IOException {
    String template =
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}"
            + "{{ m.content if loop.last else 'gone' }}{% endgeneration %}"
            + "{% else %}{{ m.content }}{% endif %}{% endfor %}";

    try (Tokenizer marking = with(template)) {
      Example example = new ExampleEncoder(marking, false).messages(TALK);

      assertThat(learned(marking, example)).isEqualTo("gonebye");
    }
  }

  @Test
  void a_template_that_rewrites_history_is_refused() throws IOException {
    String template =
        "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' and not loop.last %}"
            + "{{ m.content.split('!')[0] }}{% else %}{{ m.content }}{% endif %};{% endfor %}"
            + "{% if add_generation_prompt %}assistant:{% endif %}";

    try (Tokenizer rewriting = with(template)) {
      ExampleEncoder encoder = new ExampleEncoder(rewriting, false);

      assertThatIllegalArgumentException()
          .isThrownBy(() -> encoder.messages(TALK))
          .withMessage(
              "the chat template rewrites message 2 once the conversation goes"
                  + " on: at character 50, \"!;\" becomes \";user:bye;assistant:bye;\". So what the"
                  + " assistant says cannot be told from the rest; give a chat template that marks"
                  + " it with {% generation %}, or train on all tokens");
      assertThat(learned(rewriting, encoder.messages(TALK.subList(0, 3)))).isEqualTo("hello 日本!;");
    }
  }

  @Test
  void a_template_that_closes_each_text_with_the_eos_token_is_understood() throws IOException {
    String template =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}!{% endfor %}"
            + "{% if add_generation_prompt %}<|im_start|>assistant\n"
            + "{% else %}{{ eos_token }}{% endif %}";

    try (Tokenizer closing = with(template)) {
      Example example = new ExampleEncoder(closing, false).messages(TALK);

      assertThat(learned(closing, example)).isEqualTo("hello 日本!!bye!<|im_end|>");
    }
  }

  @Test
  void thoughts_that_are_dropped_from_earlier_turns_are_refused() throws IOException {
    String template =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
            + "{% if loop.last and m.role == 'assistant' %}<think>{{ m.thinking }}</think>{% endif"
            + " %}{{ m.content }}<|im_end|>{% endfor %}"
            + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    Map<String, Object> thought = Map.of("reasoning", "hm");

    try (Tokenizer thinking = with(template)) {
      ExampleEncoder encoder = new ExampleEncoder(thinking, false);
      Example last =
          encoder.messages(List.of(Message.user("bye"), new Message("assistant", "bye", thought)));

      assertThat(learned(thinking, last)).isEqualTo("<think>hm</think>bye<|im_end|>");
      assertThatIllegalArgumentException()
          .isThrownBy(
              () ->
                  encoder.messages(
                      List.of(
                          Message.user("bye"),
                          new Message("assistant", "bye", thought),
                          Message.user("bye"),
                          new Message("assistant", "bye", thought))))
          .withMessageStartingWith(
              "the chat template rewrites message 1 once the conversation goes on");
    }
  }

  @Test
  void a_generation_prompt_that_the_answer_does_not_start_with_is_refused() throws IOException {
    String template =
        "{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"
            + "{% if add_generation_prompt %}assistant:<think>{% endif %}";

    try (Tokenizer thinking = with(template)) {
      ExampleEncoder encoder = new ExampleEncoder(thinking, false);

      assertThatIllegalArgumentException()
          .isThrownBy(() -> encoder.messages(TALK))
          .withMessageStartingWith(
              "the chat template starts message 2 otherwise than its generation prompt does: at"
                  + " character 42, \"<think>\" becomes \"hello 日本!;");
    }
  }

  @Test
  void a_token_across_the_border_is_learned() throws IOException {
    String template = "{% for m in messages %}{{ m.content }}{% endfor %}";

    try (Tokenizer plain = with(template)) {
      Example example =
          new ExampleEncoder(plain, false)
              .messages(List.of(Message.user("hel"), Message.assistant("lo")));

      assertThat(learned(plain, example)).isEqualTo("hello");
    }
  }

  @Test
  void a_conversation_without_assistant_has_nothing_to_learn() {
    Example example = new ExampleEncoder(tokenizer, false).messages(TALK.subList(0, 2));

    assertThat(example.labelled()).isZero();
    assertThat(example.length()).isPositive();
  }

  @Test
  void templates_read_further_variables() throws IOException {
    try (Tokenizer plain =
        with("{{ tools|length }}{% for m in messages %}{{ m.content }}{% endfor %}")) {
      Example example =
          new ExampleEncoder(plain, false)
              .messages(List.of(Message.assistant("x")), Map.of("tools", List.of(1, 2)));

      assertThat(plain.decode(example.ids(), false)).isEqualTo("2x");
      assertThat(learned(plain, example)).isEqualTo("x");
    }
  }

  @Test
  void a_row_without_messages_is_refused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new ExampleEncoder(tokenizer, false).messages(List.of()))
        .withMessage(
            "a row has no messages but at least one is expected, such as"
                + " {\"role\": \"user\", \"content\": \"Hi\"}; drop the row or fill it");
  }

  @Test
  void messages_need_a_chat_template() throws IOException {
    try (Tokenizer plain = with(null)) {
      assertThatIllegalArgumentException()
          .isThrownBy(() -> new ExampleEncoder(plain, false).messages(TALK))
          .withMessageStartingWith("the tokenizer has no chat template but messages need one");
    }
  }

  @Test
  void a_refusal_of_the_template_is_handed_on() throws IOException {
    try (Tokenizer refusing = with("{{ raise_exception('no system role') }}")) {
      assertThatExceptionOfType(TemplateException.class)
          .isThrownBy(() -> new ExampleEncoder(refusing, false).messages(TALK))
          .withMessageContaining("no system role");
    }
  }

  @Test
  void a_completion_is_learned_with_the_eos_token() {
    Example example = new ExampleEncoder(tokenizer, false).promptCompletion("user: ", "hello 😀");

    assertThat(tokenizer.decode(example.ids(), false)).isEqualTo("user: hello 😀<|im_end|>");
    assertThat(learned(tokenizer, example)).isEqualTo("hello 😀<|im_end|>");
  }

  @Test
  void an_eos_token_that_is_there_is_not_doubled() {
    Example example =
        new ExampleEncoder(tokenizer, false).promptCompletion("user: ", "hello<|im_end|>");

    assertThat(learned(tokenizer, example)).isEqualTo("hello<|im_end|>");
  }

  @Test
  void an_empty_completion_teaches_to_stop() {
    Example example = new ExampleEncoder(tokenizer, false).promptCompletion("user: ", "");

    assertThat(learned(tokenizer, example)).isEqualTo("<|im_end|>");
  }

  @Test
  void a_prompt_gets_one_bos_token() {
    ExampleEncoder encoder = new ExampleEncoder(pieces, false);

    assertThat(encoder.promptCompletion("the", " red").ids())
        .isEqualTo(pieces.encode("<s>the red</s>", false));
    assertThat(encoder.promptCompletion("<s>the", " red").ids())
        .isEqualTo(pieces.encode("<s>the red</s>", false));
    assertThat(learned(pieces, encoder.promptCompletion("the", " red"))).isEqualTo("red</s>");
  }

  @Test
  void prompts_are_learned_where_asked() {
    Example example = new ExampleEncoder(tokenizer, true).promptCompletion("user: ", "hello");

    assertThat(example.labels()).isEqualTo(example.ids());
  }

  @Test
  void a_text_is_learned_whole() {
    Example example = new ExampleEncoder(pieces, false).text("the red");

    assertThat(example.ids()).isEqualTo(pieces.encode("the red", true));
    assertThat(example.labels()).isEqualTo(example.ids());
    assertThat(example.labelled()).isEqualTo(2);
  }

  @Test
  void tokens_are_taken_as_they_are() {
    Example example = new ExampleEncoder(tokenizer, false).tokens(new int[] {3, 1, 2});

    assertThat(example).isEqualTo(new Example(new int[] {3, 1, 2}, new int[] {3, 1, 2}));
  }

  @Test
  void tokens_beyond_the_vocabulary_are_refused() {
    assertThatIllegalArgumentException()
        .isThrownBy(() -> new ExampleEncoder(tokenizer, false).tokens(new int[] {1, 273}))
        .withMessage(
            "token 273 at position 1 is not in the vocabulary, whose ids go from 0 to 272; encode"
                + " the row with this model's tokenizer");
  }

  private static Tokenizer with(@Nullable String template) throws IOException {
    String json = Files.readString(TestFolders.byteLevel().resolve("tokenizer.json"));
    return Tokenizer.of(
        json, TokenizerSettings.defaults().withEosToken("<|im_end|>").withChatTemplate(template));
  }

  private static String learned(Tokenizer tokenizer, Example example) {
    return tokenizer.decode(Arrays.stream(example.labels()).filter(l -> l >= 0).toArray(), false);
  }
}
