package espalier.models;

import espalier.nn.Embedding;
import espalier.nn.Linear;
import espalier.nn.Scope;
import espalier.nn.Weights;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;
import tools.jackson.core.JacksonException;
import tools.jackson.core.json.JsonReadFeature;
import tools.jackson.core.type.TypeReference;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.json.JsonMapper;

/**
 * From {@code config.json} and weights to a model. Only here, and in the {@code ...Family} classes
 * that it calls, is a family named.
 *
 * <pre>{@code
 * try (Model model = Families.build(Files.readString(folder.resolve("config.json")), weights)) {
 *   Tensor logits = model.logits(ModelInputs.of(ids));
 * }
 * }</pre>
 */
public final class Families {

  private static final List<String> KNOWN =
      List.of(
          "bert",
          "gemma3_text",
          "gpt2",
          "llama",
          "mistral",
          "mixtral",
          "opt",
          "qwen2",
          "qwen3",
          "qwen3_moe",
          "roberta",
          "t5");

  private static final JsonMapper JSON =
      JsonMapper.builder()
          // Python writes Infinity and NaN
          .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS)
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .build();

  private Families() {}

  /** The values of {@code model_type} that can be built, in alphabetical order. */
  public static List<String> known() {
    return KNOWN;
  }

  /**
   * Builds a model from the text of a {@code config.json}.
   *
   * @throws IllegalArgumentException as {@link #build(Map, Weights)}, or if this is no JSON object
   */
  public static Model build(String configJson, Weights weights) {
    return build(parse(configJson), weights);
  }

  private static Map<String, @Nullable Object> parse(String configJson) {
    try {
      Map<String, @Nullable Object> fields = JSON.readValue(configJson, new TypeReference<>() {});
      if (fields == null) {
        throw new IllegalArgumentException("config.json is null and not a JSON object");
      }
      return fields;
    } catch (JacksonException e) {
      throw new IllegalArgumentException(
          "config.json is not a JSON object: " + e.getOriginalMessage(), e);
    }
  }

  /**
   * Builds a model.
   *
   * @param config the fields of {@code config.json}
   * @param weights the checkpoint's tensors under Hugging Face's names, in the dtype to run in; the
   *     model keeps handles of its own
   * @throws IllegalArgumentException if the family is unknown, if a field has a wrong value or
   *     would change the result and is not honoured, or if a tensor is missing or of another shape;
   *     the message names it
   */
  public static Model build(Map<String, ? extends @Nullable Object> config, Weights weights) {
    Object type = config.get("model_type");
    if (!(type instanceof String modelType) || !KNOWN.contains(modelType)) {
      throw new IllegalArgumentException(
          "config field model_type = %s is not a family that can be built; known are %s"
              .formatted(type, String.join(", ", KNOWN)));
    }
    var in = new ConfigFields(modelType, config);
    try (var _ = Scope.open();
        var _ = new NoGradGuard();
        var tree = new Tree(spellings(modelType, in, weights))) {
      return build(modelType, in, tree, config);
    }
  }

  private static Model build(String modelType, ConfigFields in, Tree tree, Map<?, ?> raw) {
    return switch (modelType) {
      case "bert", "roberta" -> BertFamily.build(modelType, in, tree, raw);
      case "t5" -> T5Family.build(in, tree, raw);
      case "gemma3_text" -> decoder(modelType, Gemma3Family.plan(in), in, tree, raw);
      case "gpt2" -> decoder(modelType, Gpt2Family.plan(in), in, tree, raw);
      case "opt" -> decoder(modelType, OptFamily.plan(in), in, tree, raw);
      default -> decoder(modelType, LlamaFamily.plan(modelType, in), in, tree, raw);
    };
  }

  private static Weights spellings(String modelType, ConfigFields in, Weights weights) {
    return switch (modelType) {
      case "t5" -> new T5Tables(weights);
      case "bert", "roberta" -> new Spellings(weights, modelType, 0);
      case "gpt2" -> new Spellings(weights, "transformer", 0);
      default -> new Spellings(weights, "model", LlamaMixtures.experts(modelType, in));
    };
  }

  private static Model decoder(
      String modelType, CausalPlan plan, ConfigFields in, Tree tree, Map<?, ?> raw) {
    DecoderSpec spec = plan.spec();
    AttentionSpec attention = spec.blocks().getFirst().attention();
    boolean classifies = CommonFields.classifies(in);
    var config =
        new ModelConfig(
            modelType,
            classifies ? Task.SEQ_CLS : Task.CAUSAL_LM,
            spec.embedding().vocabulary(),
            spec.hidden(),
            spec.blocks().size(),
            attention.heads(),
            attention.kvHeads(),
            attention.headDim(),
            plan.maxPositions(),
            classifies ? CommonFields.labels(in) : 0,
            CommonFields.tokens(in),
            CommonFields.raw(raw),
            CommonFields.unread(in));
    var stack = new Stack(tree, spec);
    return tree.finished(
        classifies
            ? classifier(config, in, tree, stack)
            : writer(config, plan.tied(), tree, stack));
  }

  private static Model classifier(ModelConfig config, ConfigFields in, Tree tree, Stack stack) {
    var layers = new ScoreLayers(tree, stack, in);
    Linear score = layers.linear(DecoderClassifier.SCORE, config.labels(), false);
    Integer pad = pad(config.modelType(), in);
    return new DecoderClassifier(config, tree, stack, score, pad, layers.fresh());
  }

  // The reference leaves fields out of a file that are its defaults, and Gemma's has a token here.
  private static @Nullable Integer pad(String modelType, ConfigFields in) {
    if (!in.present("pad_token_id")) {
      return modelType.equals("gemma3_text") ? 0 : null;
    }
    return in.find("pad_token_id") instanceof Integer id ? id : in.token("pad_token_id");
  }

  private static Model writer(ModelConfig config, boolean tying, Tree tree, Stack stack) {
    Embedding tokens = stack.tokens();
    Tensor own = tree.find("lm_head.weight");
    // As in the reference, a file that has another matrix for the head is right against its config.
    boolean tied = tying && (own == null || own.equal(tokens.weight()));
    Linear head =
        tied
            ? tree.hang("lm_head", new Linear(tokens.weight(), null))
            : tree.head("lm_head", tokens.vocabulary(), tokens.width(), false);
    return new CausalDecoder(config, tree, stack, head, tied);
  }
}
