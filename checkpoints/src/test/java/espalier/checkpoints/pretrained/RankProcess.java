package espalier.checkpoints.pretrained;

import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.models.ModelInputs;
import espalier.nn.Collective;
import espalier.nn.ParallelStyle;
import espalier.nn.Scope;
import espalier.nn.parallel.GlooCollective;
import java.nio.file.Path;
import java.time.Duration;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/** One rank's training: what each process runs. */
final class RankProcess {

  static final Path LLAMA = Path.of("..", "parity", "models", "llama");
  static final Duration PATIENCE = Duration.ofSeconds(60);

  private RankProcess() {}

  /** Joins the others: meeting file, rank, number of ranks, folder for what is written. */
  public static void main(String[] args) {
    int rank = Integer.parseInt(args[1]);
    int size = Integer.parseInt(args[2]);
    try (var ranks = GlooCollective.onThisMachine(Path.of(args[0]), rank, size, PATIENCE)) {
      train(ranks, Path.of(args[3]));
    }
  }

  /** Attaches an adapter, saves it as "fresh", trains it, and saves it as "trained". */
  static void train(@Nullable Collective ranks, Path folder) {
    try (var _ = Scope.open();
        var model = PretrainedModel.load(LLAMA, ScalarType.Float)) {
      if (ranks != null) {
        model
            .model()
            .parallelPlan(ranks.size())
            .with("model.embed_tokens", ParallelStyle.EMBEDDING_ROW)
            .apply(model.model(), ranks);
      }
      model.attach("default", config(), 7);
      model.saveAdapter("default", folder.resolve("fresh"));
      for (int step = 0; step < 3; step++) {
        step(model);
      }
      model.saveAdapter("default", folder.resolve("trained"));
    }
  }

  private static LoraConfig config() {
    return LoraConfig.builder()
        .r(4)
        .alpha(8)
        .init(new LoraInit.Gaussian())
        .targets(
            Targets.named("embed_tokens", "q_proj", "v_proj", "o_proj", "up_proj", "down_proj"))
        .build();
  }

  private static void step(PretrainedModel model) {
    try (var _ = Scope.graph()) {
      Tensor ids = Tensor.create(new long[] {3, 17, 42, 9, 5, 28}, 1, 6);
      Tensor logits = model.model().logits(ModelInputs.of(ids));
      logits.log_softmax(-1).select(-1, 5).mean().neg().backward();
      try (var _ = new NoGradGuard()) {
        for (Tensor p : model.adapters().parameters().values()) {
          p.sub_(new Tensor(p.grad()).mul(new Scalar(0.1)));
          p.mutable_grad().reset();
        }
      }
    }
  }
}
