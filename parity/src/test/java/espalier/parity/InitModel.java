package espalier.parity;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.InitSource;
import espalier.adapters.ModelFacts;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.TensorCache;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.adapters.lora.LoraLinear;
import espalier.adapters.lora.starts.Corda;
import espalier.adapters.lora.starts.Eva;
import espalier.adapters.lora.starts.EvaBatch;
import espalier.adapters.lora.starts.EvaOptions;
import espalier.adapters.lora.starts.LoraGa;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.Model;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeSet;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.JsonNode;

/** A start that looks at a whole model while it runs over some batches. */
final class InitModel implements Experiment {

  @Override
  public Outcome run(Case golden) {
    List<Map<String, Tensor>> batches = batches(golden);
    var config = (LoraConfig) Adapting.config(golden.get("config"));
    var got = new LinkedHashMap<String, Tensor>();
    try (PretrainedModel pretrained = GoldenModel.load(golden.model())) {
      Model model = pretrained.model();
      Adapters adapters = pretrained.adapters();
      ModelFacts facts = adapters.facts();
      InitSource init = InitSource.shared(golden.get("rng").required("seed").asLong());
      switch (config.init()) {
        case LoraInit.Eva eva -> eva(golden, model, adapters, config, eva, batches, init, got);
        case LoraInit.Corda _ -> {
          Runnable run =
              () -> batches.forEach(batch -> model.logits(GoldenModel.inputs(batch)).close());
          try (Prepared found = Corda.preprocess(model, facts, config, run, TensorCache.none())) {
            attach(adapters, config, init, found);
          }
        }
        case LoraInit.LoraGa _ -> {
          Runnable run = () -> batches.forEach(batch -> backward(model, batch));
          try (Prepared found = LoraGa.estimateGradients(model, facts, config, run)) {
            found
                .values()
                .forEach(
                    (path, values) ->
                        got.put(
                            "gradient." + path,
                            stored(
                                model,
                                path,
                                Objects.requireNonNull(values.get(LoraInit.LoraGa.GRADIENT))
                                    .clone())));
            attach(adapters, config, init, found);
          }
        }
        default -> throw new AssertionError(config.init() + " needs no data");
      }
      factors(adapters, config.init() instanceof LoraInit.Eva, got);
      try (var _ = new NoGradGuard()) {
        got.put("logits", model.logits(GoldenModel.inputs(batches.getFirst())));
      }
    }
    return new Outcome.Tensors(got);
  }

  private static List<Map<String, Tensor>> batches(Case golden) {
    Map<String, Tensor> all = golden.tensors("batches.safetensors");
    var batches = new ArrayList<Map<String, Tensor>>();
    for (long i = 0; i < golden.get("batches").asLong(); i++) {
      var batch = new LinkedHashMap<String, Tensor>();
      for (var entry : all.entrySet()) {
        batch.put(entry.getKey(), entry.getValue().select(0, i));
      }
      batches.add(batch);
    }
    return batches;
  }

  private static void attach(
      Adapters adapters, LoraConfig config, InitSource init, Prepared found) {
    adapters.attach("default", config, AttachOptions.of(init.withPrepared(found.values())));
  }

  private static void backward(Model model, Map<String, Tensor> batch) {
    try (var _ = Scope.graph()) {
      GoldenModel.loss(model.task(), model.logits(GoldenModel.inputs(batch)), batch).backward();
    }
  }

  private static void eva(
      Case golden,
      Model model,
      Adapters adapters,
      LoraConfig config,
      LoraInit.Eva eva,
      List<Map<String, Tensor>> batches,
      InitSource init,
      Map<String, Tensor> got) {
    List<EvaBatch> data =
        batches.stream()
            .map(
                batch ->
                    new EvaBatch(
                        () -> model.logits(GoldenModel.inputs(batch)).close(),
                        EvaBatch.tokens(
                            Objects.requireNonNull(batch.get("attention_mask")),
                            batch.get("labels"),
                            eva)))
            .toList();
    adapters.attach("default", config, AttachOptions.of(init));
    try (Prepared found =
        Eva.compute(model, adapters.facts(), config, data, EvaOptions.defaults())) {
      Eva.components(found).forEach((path, t) -> got.put("components." + path, t.clone()));
      Eva.initialise(adapters, "default", Eva.components(found), init);
    }
    JsonNode written = Adapting.CATALOG.write(adapters.config("default"));
    for (String field : List.of("rank_pattern", "alpha_pattern", "target_modules")) {
      JsonNode want = golden.get(field);
      JsonNode is = written.required(field);
      boolean same = want.isArray() ? names(is).equals(names(want)) : ValueJudge.same(is, want);
      if (!same) {
        throw new AssertionError("%s is %s instead of %s".formatted(field, is, want));
      }
    }
  }

  private static Set<String> names(JsonNode list) {
    var names = new TreeSet<String>();
    list.forEach(name -> names.add(name.asString()));
    return names;
  }

  private static void factors(Adapters adapters, boolean baseKept, Map<String, Tensor> got) {
    adapters
        .on("default")
        .forEach(
            (path, adapter) -> {
              if (adapter instanceof LoraLinear lora) {
                got.put("lora_A." + path, lora.a().detach());
                got.put("lora_B." + path, lora.b().detach());
                if (!baseKept) {
                  got.put("product." + path, lora.b().detach().matmul(lora.a().detach()));
                  got.put("base_after." + path, LayerCase.stored(lora.layer()));
                }
              }
            });
  }

  private static Tensor stored(Model model, String path, Tensor logical) {
    return model.find(path) instanceof Linear linear && linear.transposed() ? logical.t() : logical;
  }
}
