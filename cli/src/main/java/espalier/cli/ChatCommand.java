package espalier.cli;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.serving.Conversation;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** A conversation with a model at the terminal. */
@Command(name = "chat", description = "Talk with a model; /help tells what else can be typed.")
final class ChatCommand implements Callable<Integer> {

  @SuppressWarnings("NullAway.Init")
  @Spec
  private CommandSpec spec;

  @Mixin private ModelOptions model = new ModelOptions();

  @Mixin private SamplingOptions sampling = new SamplingOptions();

  @Option(
      names = "--system",
      paramLabel = "TEXT",
      description = "What the model is told before the conversation")
  private @Nullable String system;

  @Override
  public Integer call() throws Exception {
    Output output = Output.of(spec);
    var settings = sampling.sampling();
    try (PretrainedModel loaded = model.load(output);
        Conversation talk = GenerateCommand.generator(loaded).conversation();
        LineSource lines = LineSource.open()) {
      if (system != null) {
        talk.system(system);
      }
      var adapters = new ChatAdapters(loaded, talk, output);
      new ChatSession(talk, settings, adapters, output).run(lines);
    }
    return 0;
  }
}
