package espalier.examples;

import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.recipes.CausalTrainee;
import espalier.text.ExampleEncoder;
import espalier.training.AdamW;
import espalier.training.Batch;
import espalier.training.ParameterGroup;
import espalier.training.Trainer;
import java.nio.file.Path;
import java.util.List;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A loop of one's own, where a recipe says too little. */
public final class TrainingLoop {

  private TrainingLoop() {}

  /** {@code TrainingLoop MODEL-FOLDER ADAPTER-FOLDER}: teaches a model one answer by heart. */
  public static void main(String... arguments) {
    try (var model = PretrainedModel.load(Path.of(arguments[0]), ScalarType.Float)) {
      var config = LoraConfig.builder().r(8).alpha(16).targets(Targets.allLinear()).build();
      model.attach("parrot", config, 42);
      IO.println(model.adapters().trainableLine());

      var encoder = new ExampleEncoder(model.tokenizer(), false);
      var example = encoder.promptCompletion("Polly?", " wants a cracker");
      var trainee = new CausalTrainee(model.model(), model.adapters());
      var group = new ParameterGroup("adapter", trainee.parameters(), 1e-2, 0);
      trainee.train(true);
      try (var optimizer = new AdamW(List.of(group))) {
        var trainer = new Trainer(trainee, optimizer, 1);
        for (int step = 1; step <= 30; step++) {
          var batch = Batch.padded(List.of(example), model.tokenizer().padId().orElse(0));
          IO.println("step %d: loss %.3f".formatted(step, trainer.step(List.of(batch), 1).loss()));
        }
      }
      trainee.train(false);
      model.saveAdapter("parrot", Path.of(arguments[1]));
    }
  }
}
