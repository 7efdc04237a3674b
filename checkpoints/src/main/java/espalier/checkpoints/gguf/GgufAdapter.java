package espalier.checkpoints.gguf;

import espalier.adapters.AdapterContents;
import espalier.adapters.AdapterException;
import espalier.adapters.AdapterFormat;
import espalier.adapters.Adapters;
import espalier.adapters.Attached;
import espalier.adapters.BiasTraining;
import espalier.adapters.SaveStart;
import espalier.adapters.UnsupportedAdapterException;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraVariant;
import espalier.checkpoints.CheckpointException;
import espalier.models.Model;
import espalier.nn.Scope;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Writes a LoRA adapter as the GGUF file that llama.cpp loads beside a model ({@code --lora}).
 *
 * <p>The file has one alpha for all layers, which llama.cpp divides by each layer's rank; other
 * scalings, as of rsLoRA or of patterns, go into B. The rows of B on llama's query and key
 * projections are in llama.cpp's order. A start that took something out of the base is converted
 * first. What the format has no place for is refused: anything but B·A on linear layers and the
 * token embedding.
 */
public final class GgufAdapter {

  private static final String TOKENS = "token_embd.weight";

  private GgufAdapter() {}

  /**
   * Writes an adapter of a model, whole or not at all.
   *
   * @param file replaced if it is there
   * @param dtype of the factors: float32, float16 or bfloat16
   * @throws AdapterException if there is no such adapter
   * @throws UnsupportedAdapterException if the format has no place for it
   * @throws CheckpointException if the file can not be written; nothing is left then
   */
  public static void write(
      Path file, Model model, Adapters adapters, String name, ScalarType dtype) {
    AdapterNames names = AdapterNames.of(model);
    LoraConfig trained = lora(adapters, name);
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      AdapterContents contents = adapters.contents(name, SaveStart.PLAIN);
      LoraConfig config = contents.config() instanceof LoraConfig plain ? plain : trained;
      double alpha = config.alpha() == 0 ? config.r() : config.alpha();
      var tensors = new LinkedHashMap<String, Tensor>();
      for (String path : adapters.attached(name).modules()) {
        AdapterNames.Place place = place(names, name, path);
        Factors factors = Factors.of(contents.tensors(), path);
        if (factors.embedding() && !place.name().equals(TOKENS)) {
          throw noPlace(name, path); // it would be read and then never looked at
        }
        double scaling = config.scalingAt(path) * factors.rank() / alpha;
        Tensor b = place.rows(factors.b().to(ScalarType.Float).mul(new Scalar(scaling)));
        // rows of the embedding's A are looked up by token, so it is stored with tokens as rows
        Tensor a = factors.embedding() ? factors.a().t() : factors.a();
        tensors.put(place.name() + ".lora_a", a.to(dtype));
        tensors.put(place.name() + ".lora_b", b.to(dtype));
      }
      GgufWriter.write(file, keys(names, config, alpha), tensors);
    }
  }

  /** A [r, in] and B [out, r] of one layer; of an embedding A is [r, V]. */
  private record Factors(Tensor a, Tensor b, boolean embedding) {

    static Factors of(Map<String, Tensor> tensors, String path) {
      String key = AdapterFormat.KEY_PREFIX + path;
      Tensor a = tensors.get(key + ".lora_A.weight");
      Tensor b = tensors.get(key + ".lora_B.weight");
      if (a != null && b != null) {
        return new Factors(a.detach(), b.detach(), false);
      }
      Tensor tokens = tensors.get(key + ".lora_embedding_A");
      Tensor width = tensors.get(key + ".lora_embedding_B");
      if (tokens != null && width != null) {
        return new Factors(tokens.detach(), width.detach(), true);
      }
      throw new IllegalStateException(path + " has no factors of LoRA, although its config is");
    }

    long rank() {
      return a.size(0);
    }
  }

  private static AdapterNames.Place place(AdapterNames names, String name, String path) {
    AdapterNames.Place place = names.places().get(path);
    if (place == null) {
      throw noPlace(name, path);
    }
    return place;
  }

  private static UnsupportedAdapterException noPlace(String name, String path) {
    return unsupported(
        name,
        "is on %s, a weight that is tied, stacked, or used without an adapter there"
            .formatted(path),
        "leave the layer out, or merge the adapter and convert the model");
  }

  private static Map<String, Object> keys(AdapterNames names, LoraConfig config, double alpha) {
    var keys = new LinkedHashMap<String, Object>();
    keys.put("general.architecture", names.architecture());
    keys.put("general.type", "adapter");
    keys.put("adapter.type", "lora");
    keys.put("adapter.lora.alpha", (float) alpha);
    if (config.variant() instanceof LoraVariant.Alora(var tokens)) {
      keys.put("adapter.alora.invocation_tokens", tokens);
    }
    return keys;
  }

  private static LoraConfig lora(Adapters adapters, String name) {
    if (!(adapters.config(name) instanceof LoraConfig config)) {
      throw unsupported(
          name,
          "is %s and no LoRA".formatted(adapters.config(name).peftType()),
          "convert it to LoRA at a rank first");
    }
    switch (config.variant()) {
      case LoraVariant.Plain(),
          LoraVariant.Alora _,
          LoraVariant.Velora _,
          LoraVariant.Monteclora _ -> {}
      case LoraVariant.Dora(),
          LoraVariant.Bdlora _,
          LoraVariant.Arrow _,
          LoraVariant.Kasa _,
          LoraVariant.Qalora _ ->
          throw unsupported(
              name,
              "has %s, which is more than B·A".formatted(config.variant().field()),
              "convert it to plain LoRA at a rank first, where that can be had");
    }
    Attached attached = adapters.attached(name);
    refuseIf(!attached.saved().isEmpty(), name, "trains " + attached.saved() + " whole");
    refuseIf(!attached.parameters().isEmpty(), name, "is on stacked parameters");
    refuseIf(config.loraBias(), name, "has lora_bias");
    refuseIf(config.bias() != BiasTraining.NONE, name, "trains biases of the base");
    refuseIf(config.tokens() != null, name, "has trainable_token_indices");
    refuseIf(
        config.init() instanceof LoraInit.Loftq, name, "is for a base that its start quantised");
    return config;
  }

  private static void refuseIf(boolean wrong, String name, String what) {
    if (wrong) {
      throw unsupported(name, what, "merge it and convert the model instead");
    }
  }

  private static UnsupportedAdapterException unsupported(String name, String what, String way) {
    return new UnsupportedAdapterException(
        "%s %s, which llama.cpp's adapter files can not hold; %s".formatted(name, what, way));
  }
}
