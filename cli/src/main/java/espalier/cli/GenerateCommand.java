package espalier.cli;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.serving.Beams;
import espalier.serving.Generation;
import espalier.serving.Generator;
import espalier.serving.Prompt;
import espalier.serving.TokenListener;
import espalier.text.Message;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;
import tools.jackson.databind.node.ObjectNode;

/** Answers prompts. */
@Command(name = "generate", description = "Answer a prompt, or a file of prompts as one batch.")
final class GenerateCommand implements Callable<Integer> {

  private static final Pattern PROMPT = Pattern.compile("prompt (\\d{1,9})(?= has )");

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Mixin private ModelOptions model = new ModelOptions();

  @ArgGroup(multiplicity = "1")
  private Asked asked = new Asked();

  @Mixin private SamplingOptions sampling = new SamplingOptions();

  @Mixin private BeamOptions search = new BeamOptions();

  @Option(
      names = "--chat",
      negatable = true,
      description = "Use the model's chat template (default: where it has one)")
  private @Nullable Boolean chat;

  @Option(names = "--raw", description = "Continue the text as it is; the same as --no-chat")
  private boolean raw;

  @Option(
      names = "--system",
      paramLabel = "TEXT",
      description = "What the model is told before the prompt; needs a chat template")
  private @Nullable String system;

  @Option(names = "--json", description = "Print one JSON object a prompt")
  private boolean json;

  /** Where the prompts are from. */
  static final class Asked {
    @Option(
        names = {"-p", "--prompt"},
        required = true,
        paramLabel = "TEXT",
        description = "One prompt; the answer is shown as it comes")
    @Nullable String prompt;

    @Option(
        names = "--prompts",
        required = true,
        paramLabel = "FILE.jsonl",
        description = "Rows of prompt or messages, each with an adapter perhaps")
    @Nullable Path file;

    List<PromptRow> rows() throws IOException {
      return prompt != null
          ? List.of(PromptRow.of(prompt))
          : PromptRow.read(Objects.requireNonNull(file));
    }
  }

  @Override
  public Integer call() throws IOException {
    Output output = Output.of(spec);
    List<PromptRow> rows = asked.rows();
    var settings = sampling.sampling();
    Beams beams = search.beams();
    try (PretrainedModel loaded = model.load(output)) {
      Generator generator = generator(loaded);
      boolean templated = templated(loaded);
      List<Prompt> prompts = rows.stream().map(row -> prompt(row, generator, templated)).toList();
      boolean streams = asked.prompt != null && !json && beams == null;
      TokenListener listener = streams ? (_, _, piece) -> output.piece(piece) : TokenListener.NONE;
      List<Generation> answers =
          answers(
              rows,
              () ->
                  beams == null
                      ? generator.generate(prompts, settings, listener)
                      : generator.generate(prompts, settings, beams));
      if (streams) {
        output.line("");
      } else {
        write(output, rows, answers);
      }
    }
    return 0;
  }

  /** A generator whose rows may name any adapter of the model. */
  static Generator generator(PretrainedModel model) {
    return Generator.of(
        model.model(),
        model.tokenizer(),
        names -> model.adapters().mixed(names, names.size(), () -> true));
  }

  /** What the library says of prompt 0 is told of the line that it is from. */
  private static List<Generation> answers(
      List<PromptRow> rows, Supplier<List<Generation>> generated) {
    try {
      return generated.get();
    } catch (IllegalArgumentException e) {
      Matcher prompt = PROMPT.matcher(String.valueOf(e.getMessage()));
      if (!prompt.lookingAt() || Integer.parseInt(prompt.group(1)) >= rows.size()) {
        throw e;
      }
      String where = rows.get(Integer.parseInt(prompt.group(1))).where();
      throw new IllegalArgumentException(
          SamplingOptions.spelled(where + String.valueOf(e.getMessage()).substring(prompt.end())),
          e);
    }
  }

  private boolean templated(PretrainedModel loaded) {
    if (raw) {
      return false;
    }
    return chat == null ? loaded.tokenizer().chatTemplate().isPresent() : chat;
  }

  private Prompt prompt(PromptRow row, Generator generator, boolean templated) {
    String text = row.text();
    if (text != null && !templated) {
      if (system != null) {
        throw new IllegalArgumentException(
            "--system was given but no chat template is used, so the model would not be told; put"
                + " it into the prompt");
      }
      return generator.prompt(text).with(row.adapter());
    }
    var messages = new ArrayList<Message>();
    if (system != null) {
      messages.add(Message.system(system));
    }
    messages.addAll(text == null ? row.messages() : List.of(Message.user(text)));
    return generator.prompt(messages).with(row.adapter());
  }

  private void write(Output output, List<PromptRow> rows, List<Generation> answers) {
    for (int i = 0; i < rows.size(); i++) {
      Generation answer = answers.get(i);
      if (json) {
        output.json(object(rows.get(i), answer));
      } else {
        output.line((i == 0 ? "" : System.lineSeparator()) + answer.text().strip());
      }
    }
  }

  private static ObjectNode object(PromptRow row, Generation answer) {
    ObjectNode object = Output.row();
    if (row.text() != null) {
      object.put("prompt", row.text());
    } else {
      row.messages().forEach(message -> object.withArray("messages").addPOJO(message.asMap()));
    }
    if (row.adapter() != null) {
      object.put("adapter", row.adapter());
    }
    return object
        .put("text", answer.text())
        .put("finish_reason", answer.reason().name().toLowerCase(Locale.ROOT))
        .put("prompt_tokens", answer.promptTokens())
        .put("completion_tokens", answer.ids().length);
  }
}
