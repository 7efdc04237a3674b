package espalier.adapters.lora;

import static espalier.nn.Features.rows;
import static espalier.nn.Features.shaped;
import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.adapters.UnsupportedAdapterException;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Recompute;
import espalier.nn.TokenIds;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/**
 * Activated LoRA: LoRA that acts from the last occurrence of a sequence of tokens in a row on. What
 * stands before is computed as by the base alone, bit for bit, so that keys and values of the base
 * serve the adapter too.
 *
 * @see <a href="https://arxiv.org/abs/2504.12397">Activated LoRA: Fine-tuned LLMs for
 *     Intrinsics</a>
 */
public final class AloraLinear extends LoraLinear {

  private static final Logger LOG = System.getLogger("espalier.adapters");

  /** What was warned of already: a model has hundreds of layers, and a run thousands of batches. */
  private static final Set<String> TOLD = ConcurrentHashMap.newKeySet();

  private final List<Integer> tokens;
  private @Nullable TokenIds awaited; // by a backward that is to run blocks again

  AloraLinear(LoraConfig config, LoraVariant.Alora settings, Linear layer, String path, Init init) {
    super(config, layer, path, LoraStart.of(config, layer, path, init));
    tokens = settings.tokens();
  }

  @Override
  public List<Integer> invocation() {
    return tokens;
  }

  @Override
  public Tensor first(Tensor x) {
    long[] at = positions(x);
    return everywhere(at, x) ? super.first(x) : acting(at, x, layer().base(x));
  }

  @Override
  public Tensor forward(Tensor x, Tensor y) {
    long[] at = positions(x);
    return everywhere(at, x) ? super.forward(x, y) : acting(at, x, y);
  }

  private Tensor acting(long[] at, Tensor x, Tensor y) {
    // Where something is learned an empty part is computed too, so that a batch without the
    // sequence has a backward like any other, with gradients of zero.
    if (at.length == 0 && !(GradMode.is_enabled() && a().requires_grad())) {
      return y;
    }
    Tensor index = tensor(at);
    Tensor rows = rows(y);
    Tensor part = super.forward(rows(x).index_select(0, index), rows.index_select(0, index));
    return shaped(rows.index_copy(0, index, part), x);
  }

  private static boolean everywhere(long[] at, Tensor x) {
    return at.length == x.numel() / x.size(-1);
  }

  private long[] positions(Tensor x) {
    TokenIds known = TokenIds.current();
    if (known == null) {
      tell(
          "no tokens are known where an adapter waits for alora_invocation_tokens %s, so it is off;"
              + " run the whole model, or say the positions with TokenIds.offsets");
      return new long[0];
    }
    if (referenceRefusals()) {
      refuse(known);
    }
    if (training() && known.missing(tokens) > 0) {
      tell(
          known.missing(tokens)
              + " examples of a batch do not hold alora_invocation_tokens %s, so the adapter learns"
              + " nothing from them; later ones are not reported");
    }
    long time = x.dim() == 2 ? 1 : x.numel() / x.size(-1) / x.size(0);
    return known.positions(tokens, x.size(0), time);
  }

  private void refuse(TokenIds known) {
    if (known.beams()) {
      throw new UnsupportedAdapterException(
          "alora_invocation_tokens %s: the reference has no beam search for such adapters; switch referenceRefusals off to have it"
              .formatted(tokens));
    }
    TokenIds before = awaited;
    switch (Recompute.run()) {
      case FIRST -> {
        if (before != null && !before.sameForward(known)) {
          throw new UnsupportedAdapterException(
              "alora_invocation_tokens %s: with gradient checkpointing the reference runs one forward a backward, and this is the second; switch referenceRefusals off to have several"
                  .formatted(tokens));
        }
        awaited = known;
      }
      case AGAIN -> awaited = null;
      case NONE -> {}
    }
  }

  @Override
  public void referenceRefusals(boolean on) {
    super.referenceRefusals(on);
    awaited = null;
  }

  @Override
  public void train(boolean on) {
    super.train(on);
    awaited = on ? awaited : null;
  }

  private void tell(String sentence) {
    String warning = sentence.formatted(tokens);
    if (TOLD.add(warning.replaceFirst("^\\d+ ", ""))) {
      LOG.log(Level.WARNING, warning);
    }
  }

  @Override
  public String mergeRefusal() {
    return "an activated adapter acts on a part of each row only, which no weight can; keep it"
        + " beside the base, whose keys and values it shares";
  }
}
