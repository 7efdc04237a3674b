package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.AttachOptions;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.serving.Sampling;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.List;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Conversations that are typed, on a tiny model whose answers are noise, but always the same. */
final class ChatSessionTest {

  @TempDir private Path folder;

  @BeforeEach
  void write_a_model() throws IOException {
    TinyChatModel.write(folder.resolve("model"));
  }

  private PretrainedModel model() {
    return PretrainedModel.load(folder.resolve("model"), ScalarType.Float);
  }

  /** Saves an adapter that changes answers; each seed has other ones. */
  private Path adapter(String name, int r, double dropout, long seed) {
    Path saved = folder.resolve(name);
    LoraConfig config =
        LoraConfig.builder()
            .r(r)
            .alpha(64.0 * r)
            .dropout(dropout)
            .init(new LoraInit.Unset())
            .build();
    try (PretrainedModel model = model()) {
      model.attach("default", config, seed);
      model.saveAdapter("default", saved);
    }
    return saved;
  }

  private record Talk(String out, String err) {}

  /** What is shown when these lines are typed. */
  private static Talk typed(PretrainedModel model, String... lines) throws IOException {
    var out = new StringWriter();
    var err = new StringWriter();
    var output = new Output(new PrintWriter(out), new PrintWriter(err));
    var left = new ArrayDeque<>(List.of(lines));
    model.model().train(false);
    try (var talk = GenerateCommand.generator(model).conversation()) {
      new ChatSession(
              talk,
              Sampling.greedy().withMaxNewTokens(12),
              new ChatAdapters(model, talk, output),
              output)
          .run(left::poll);
    }
    assertThat(left).isEmpty();
    return new Talk(out.toString(), err.toString());
  }

  private String answerOf(Path adapter) throws IOException {
    try (PretrainedModel model = model()) {
      model.loadAdapter("only", adapter);
      return typed(model, "oak?").out();
    }
  }

  @Test
  void an_answer_that_fails_is_told_and_the_conversation_goes_on() throws IOException {
    try (PretrainedModel model = model()) {
      LoraConfig config = LoraConfig.builder().build();
      model.adapters().attach("hollow", config, AttachOptions.unfilled());

      Talk talk = typed(model, "oak?", "/adapter base", "oak?");

      assertThat(talk.err()).contains("error: ").contains("never filled");
      assertThat(talk.out()).isNotBlank();
    }
  }

  @Test
  void an_adapter_that_is_named_by_its_folder_answers_and_is_listed() throws IOException {
    Path trees = adapter("trees", 4, 0, 1);
    String base;
    String adapted = answerOf(trees);
    Talk talk;
    try (PretrainedModel model = model()) {
      base = typed(model, "oak?").out();
      talk =
          typed(
              model,
              "/adapters",
              "/adapter " + trees,
              "oak?",
              "/adapters",
              "/adapter base",
              "/reset",
              "oak?");
    }

    assertThat(adapted).isNotEqualTo(base);
    assertThat(talk.out()).isEqualTo(adapted + base);
    assertThat(talk.err().lines().skip(1))
        .containsExactly(
            "* base (no adapter)",
            "trees answers from now on",
            "* trees (LORA)",
            "  base (no adapter)",
            "base answers from now on",
            "forgotten");
  }

  @Test
  void a_folder_for_a_name_that_is_there_takes_its_place_in_the_conversation() throws IOException {
    Path monday = adapter("monday", 4, 0, 1);
    Path tuesday = adapter("tuesday", 2, 0, 2);
    String old = answerOf(monday);
    String now = answerOf(tuesday);
    Talk talk;
    List<String> names;
    try (PretrainedModel model = model()) {
      model.loadAdapter("trees", monday);
      talk = typed(model, "oak?", "/reset", "/adapter trees=" + tuesday, "oak?");
      names = model.adapters().names();
    }

    assertThat(now).isNotEqualTo(old);
    assertThat(talk.out()).isEqualTo(old + now);
    assertThat(talk.err())
        .contains("trees was exchanged for " + tuesday, "trees answers from now on");
    assertThat(names).containsExactly("trees");
  }

  @Test
  void a_name_of_the_hub_that_can_not_be_is_told_and_the_talk_goes_on() throws IOException {
    try (PretrainedModel model = model()) {
      Talk talk = typed(model, "/adapter hub:trees", "/adapter trees", "oak?");

      assertThat(talk.err())
          .contains(
              "error: 'hub:trees' is not the name of an adapter in a repository; write"
                  + " hub:org/name[/sub/folder][@revision]",
              "there is no adapter trees, and no folder of that name with one");
      assertThat(talk.out()).isNotEmpty();
    }
  }

  @Test
  void what_was_said_is_read_anew_by_the_adapter_that_was_exchanged() throws IOException {
    Path monday = adapter("monday", 4, 0, 1);
    Path tuesday = adapter("tuesday", 4, 0, 2);
    String exchanged;
    String added;
    try (PretrainedModel model = model()) {
      model.loadAdapter("trees", monday);
      exchanged = typed(model, "oak?", "/adapter trees=" + tuesday, "elm?").out();
    }
    try (PretrainedModel model = model()) {
      model.loadAdapter("trees", monday);
      added = typed(model, "oak?", "/adapter other=" + tuesday, "elm?").out();
    }

    assertThat(exchanged).isEqualTo(added);
  }

  @Test
  void an_exchange_that_is_refused_leaves_the_adapter_that_answers() throws IOException {
    Path monday = adapter("monday", 4, 0, 1);
    Path other = adapter("other", 4, 0.5, 2);
    String before = answerOf(monday);
    Talk talk;
    try (PretrainedModel model = model()) {
      model.loadAdapter("trees", monday);
      talk = typed(model, "/adapter trees=" + other, "oak?");
    }

    assertThat(talk.out()).isEqualTo(before);
    assertThat(talk.err()).contains("error: ", "lora_dropout").doesNotContain("exchanged");
  }

  @Test
  void a_name_that_is_not_there_is_told_with_those_that_are() throws IOException {
    Path monday = adapter("monday", 4, 0, 1);
    Talk talk;
    try (PretrainedModel model = model()) {
      model.loadAdapter("trees", monday);
      talk = typed(model, "/adapter treees", "/adapter x=nowhere", "/adapter", "/shout");
    }

    assertThat(talk.err().lines().skip(1))
        .containsExactly(
            "there is no adapter treees, and no folder of that name with one; known are trees,"
                + " base",
            "there is no adapter x=nowhere, and no folder of that name with one; known are trees,"
                + " base",
            "/adapter needs a name or a folder; known are trees, base",
            "there is no /shout; /help lists what there is");
  }

  @Test
  void help_names_every_command() throws IOException {
    try (PretrainedModel model = model()) {
      assertThat(typed(model, "/help").err())
          .contains("/adapters", "/adapter NAME", "/adapter FOLDER", "/reset", "/quit");
    }
  }
}
