package espalier.examples;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.serving.Generator;
import espalier.serving.Prompt;
import espalier.serving.Sampling;
import java.nio.file.Path;
import java.util.ArrayList;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** One batch in which each prompt is answered by an adapter of its own. */
public final class ManyAdapters {

  private ManyAdapters() {}

  /** {@code ManyAdapters MODEL-FOLDER PROMPT ADAPTER-FOLDER...}. */
  public static void main(String... arguments) {
    try (var model = PretrainedModel.load(Path.of(arguments[0]), ScalarType.Float)) {
      for (int i = 2; i < arguments.length; i++) {
        model.loadAdapter("adapter" + i, Path.of(arguments[i]));
      }
      var generator = Generator.of(model);
      Prompt prompt = generator.prompt(arguments[1]);
      var prompts = new ArrayList<Prompt>();
      prompts.add(prompt.with("__base__"));
      model.adapters().names().forEach(name -> prompts.add(prompt.with(name)));
      var sampling = Sampling.greedy().withMaxNewTokens(20);
      for (var answer : generator.generate(prompts, sampling)) {
        IO.println(answer.text());
      }
    }
  }
}
