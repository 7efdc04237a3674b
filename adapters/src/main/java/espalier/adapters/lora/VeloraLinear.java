package espalier.adapters.lora;

import static org.bytedeco.pytorch.global.torch.constant_pad_nd;
import static org.bytedeco.pytorch.global.torch.ones_like;

import espalier.nn.CustomFunction;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;

/**
 * VeLoRA: LoRA that keeps for backward not x but one number for each group of its features. The
 * output is plain LoRA's; only the gradient of A is computed from a reconstruction.
 *
 * <pre>
 *     x cut into G groups xg of d features      c = xg·v   [tokens, G]      x̂ = scale · c ⊗ v
 *     dA = (dh)ᵀ x̂      dx = dh A      with h = A x
 * </pre>
 *
 * @see <a href="https://arxiv.org/abs/2405.17991">VeLoRA: Memory Efficient Training using Rank-1
 *     Sub-Token Projections</a>
 */
public final class VeloraLinear extends LoraLinear {

  private static final String EMBED = "lora_velora_embed";

  private final LoraVariant.Velora settings;
  private final long width; // features of a group
  private final Tensor v; // [width], of norm 1; zero before the first batch
  private boolean known; // whether v has a direction

  VeloraLinear(
      LoraConfig config, LoraVariant.Velora settings, Linear layer, String path, Init init) {
    super(config, layer, path, LoraStart.of(config, layer, path, init));
    this.settings = settings;
    width = Math.ceilDiv(layer.in(), settings.groups());
    boolean drawn = settings.init().equals("random") && !init.isBlank();
    v = constant(EMBED, drawn ? normalized(init.normal(1, width)) : init.zero(width));
    known = drawn;
  }

  /** The direction that groups are projected on, [⌈in / groups⌉]. */
  public Tensor direction() {
    return v;
  }

  @Override
  public Runnable loading(Map<String, Tensor> saved) {
    Runnable factors = super.loading(saved);
    return () -> {
      factors.run();
      known = v.any().item_bool(); // a saved direction is one; what was never trained is zero
    };
  }

  @Override
  Tensor hidden(Tensor x) {
    if (!training() || !GradMode.is_enabled()) {
      return product(x, a());
    }
    update(x);
    Tensor factor = a().to(x.scalar_type().intern());
    List<Tensor> inputs = List.of(x, factor);
    if (!CustomFunction.needed(inputs)) {
      return product(x, factor);
    }
    // x must not be caught by what outlives this call, for letting go of it is the whole point.
    long in = x.size(-1);
    Tensor compressed = compressed(x);
    return CustomFunction.apply(
        inputs,
        List.of(compressed, factor, v),
        () -> product(x, factor),
        (g, saved) -> backward(g, saved.get(0), saved.get(1), saved.get(2), in));
  }

  private List<@Nullable Tensor> backward(
      Tensor g, Tensor c, Tensor factor, Tensor direction, long in) {
    // (dh)ᵀ (c ⊗ v) = ((dh)ᵀ c) ⊗ v: the reconstruction itself, of the size of x, is never formed.
    Tensor d = direction.to(g.scalar_type().intern());
    Tensor groups = g.t().matmul(c).unsqueeze(-1); // [r, G, 1]
    Tensor toA = times(groups.mul(d), settings.scale()).view(g.size(1), -1).narrow(1, 0, in);
    return Arrays.asList(g.matmul(factor), toA);
  }

  /** Projections of each group, [n, G]. */
  private Tensor compressed(Tensor x) {
    try (var _ = new NoGradGuard()) {
      return Scope.result(() -> grouped(x).matmul(v.to(x.scalar_type().intern())));
    }
  }

  /** Inputs by group, the last one filled up with zeros: [n, G, width]. */
  private Tensor grouped(Tensor x) {
    long missing = settings.groups() * width - x.size(-1);
    Tensor whole = missing == 0 ? x : constant_pad_nd(x, 0, missing);
    return whole.reshape(-1, settings.groups(), width);
  }

  private void update(Tensor x) {
    boolean settled =
        settings.init().equals("random") || (known && settings.init().endsWith("_once"));
    if (settled || x.numel() == 0) { // a mean over no rows is no direction
      return;
    }
    try (var _ = new PointerScope();
        var _ = new NoGradGuard()) {
      Tensor mean = grouped(x).view(-1, width).to(ScalarType.Float).mean(0);
      // Not written into: an earlier forward may still wait for its backward with the old one.
      v.set_data(normalized(mean).to(v.scalar_type().intern()));
      known = true;
    }
  }

  private static Tensor normalized(Tensor direction) {
    Tensor wide = direction.to(ScalarType.Float);
    Tensor some = wide.any().item_bool() ? wide : ones_like(wide);
    return some.div(some.norm());
  }
}
