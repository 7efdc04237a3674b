package espalier.checkpoints.pretrained;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.Targets;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.models.KvCache;
import espalier.models.ModelInputs;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.List;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;

/** Rows of a cache that continue one text, as beam search has them, under activated LoRA. */
class BeamsTest {

  private static final Path LLAMA = Path.of("..", "parity", "models", "llama");
  private static final LoraConfig ALORA =
      LoraConfig.builder()
          .r(2)
          .init(new LoraInit.Unset())
          .variant(new LoraVariant.Alora(List.of(9)))
          .targets(Targets.named("q_proj", "v_proj"))
          .build();

  private static Tensor ids(int rows, long... ids) {
    return Tensor.create(ids, rows, ids.length / rows);
  }

  @Test
  void each_beam_knows_where_its_adapter_was_called_unless_the_references_refusal_is_asked_for() {
    try (PretrainedModel model = PretrainedModel.load(LLAMA, ScalarType.Float);
        KvCache cache = model.model().newCache(8);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      model.attach("one", ALORA, 1);
      model.model().logits(ModelInputs.next(ids(1, 5, 9, 7), null, cache));
      cache.select(0, 0);
      ModelInputs next = ModelInputs.next(ids(2, 11, 12), null, cache);

      model.adapters().referenceRefusals(true);
      assertThatThrownBy(() -> model.model().logits(next))
          .isInstanceOf(UnsupportedAdapterException.class)
          .hasMessageContaining("alora_invocation_tokens [9]: the reference has no beam search");

      model.adapters().referenceRefusals(false);
      Tensor beams = model.model().logits(next);
      Tensor alone = model.model().logits(ModelInputs.of(ids(1, 5, 9, 7, 12)));
      Tensor last = alone.narrow(1, 3, 1);
      assertThat(beams.narrow(0, 1, 1).sub(last).abs().max().item_double()).isLessThan(1e-4);
    }
  }

  @Test
  void rows_that_were_never_one_are_no_beams() {
    try (PretrainedModel model = PretrainedModel.load(LLAMA, ScalarType.Float);
        KvCache cache = model.model().newCache(8);
        var _ = Scope.open();
        var _ = new NoGradGuard()) {
      model.attach("one", ALORA, 1);
      model.adapters().referenceRefusals(true);
      model.model().logits(ModelInputs.next(ids(3, 5, 9, 6, 9, 7, 9), null, cache));
      cache.select(2, 0);

      Tensor logits = model.model().logits(ModelInputs.next(ids(2, 11, 12), null, cache));

      assertThat(logits.isfinite().all().item_bool()).isTrue();
    }
  }
}
