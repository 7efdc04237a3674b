package espalier.cli;

import espalier.adapters.Adapters;
import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.ModelInputs;
import espalier.nn.Adapter;
import espalier.nn.Scope;
import espalier.text.Tokenizer;
import espalier.training.Batch;
import espalier.training.Memory;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Tensor;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** Everything that is done with adapters besides training them. */
final class BenchOperations {

  private static final double SPREAD = 0.02;

  private BenchOperations() {}

  /** Loading, saving, merging and switching on the whole model. */
  static void whole(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    String dtype = spec.path("dtype").asString();
    String kind = spec.path("kind").asString();
    int reps = spec.path("reps").asInt(3);
    record.set("load_model", Timing.of(3, 1, () -> inputs.load(dtype).close()).summary());
    record.set(
        "load_tokenizer",
        Timing.of(3, 1, () -> Tokenizer.load(inputs.folder(dtype)).close()).summary());
    inFolder(
        folder -> {
          var attach = new ArrayList<Double>();
          for (int i = 0; i < 2; i++) {
            try (PretrainedModel fresh = inputs.load(dtype)) {
              attach.add(Timing.once(() -> BenchMethods.put(fresh, kind)));
            }
          }
          record.set("get_peft_model", new Timing(attach).summary());
          try (PretrainedModel model = inputs.load(dtype)) {
            BenchMethods.put(model, kind);
            randomise(model.adapters(), SPREAD);
            record.put(
                "adapter_params",
                model.adapters().parameters().values().stream().mapToLong(Tensor::numel).sum());
            record.set(
                "save_adapter",
                Timing.of(3, 0, () -> model.saveAdapter("default", folder)).summary());
            record.put("file_mb", BenchWorker.megabytes(size(folder)));
            record.set("load_adapter_on_base", loads(inputs, dtype, folder).summary());
            onOne(model, folder, reps, inputs.threads(), record);
          }
        });
    BenchWorker.memory(record);
  }

  private static Timing loads(BenchInputs inputs, String dtype, Path folder) {
    var seconds = new ArrayList<Double>();
    for (int i = 0; i < 3; i++) {
      try (PretrainedModel fresh = inputs.load(dtype)) {
        seconds.add(Timing.once(() -> fresh.loadAdapter("default", folder)));
      }
    }
    return new Timing(seconds);
  }

  private static void onOne(
      PretrainedModel model, Path folder, int reps, int threads, ObjectNode record) {
    Adapters adapters = model.adapters();
    model.model().train(false);
    var merge = new ArrayList<Double>();
    var unmerge = new ArrayList<Double>();
    BenchWorker.share(
        record,
        threads,
        () -> {
          for (int i = 0; i <= reps; i++) {
            double in = Timing.once(() -> adapters.merge(false));
            double out = Timing.once(adapters::unmerge);
            if (i > 0) { // the first one warms up
              merge.add(in);
              unmerge.add(out);
            }
          }
        });
    record.set("merge_adapter", new Timing(merge).summary());
    record.set("unmerge_adapter", new Timing(unmerge).summary());
    record.put("load_second_adapter_s", Timing.once(() -> model.loadAdapter("second", folder)));
    record.set("set_adapter", switching(adapters, "second", "default", 5).summary());
    adapters.delete("second");
    record.put("merge_and_unload_s", Timing.once(() -> adapters.mergeAndUnload(false)));
  }

  /** Seconds of one switch; two are timed together. */
  private static Timing switching(Adapters adapters, String there, String back, int reps) {
    Timing both =
        Timing.of(
            reps,
            1,
            () -> {
              adapters.setActive(List.of(there));
              adapters.setActive(List.of(back));
            });
    return new Timing(both.seconds().stream().map(seconds -> seconds / 2).toList());
  }

  /** One adapter's file under more and more names. */
  static void growth(BenchInputs inputs, ObjectNode spec, ObjectNode record) {
    String dtype = spec.path("dtype").asString();
    inFolder(
        folder -> {
          try (PretrainedModel model = inputs.load(dtype)) {
            BenchMethods.put(model, "lora");
            randomise(model.adapters(), SPREAD);
            model.saveAdapter("default", folder);
          }
          record.put("file_mb", BenchWorker.megabytes(size(folder)));
          try (PretrainedModel model = inputs.load(dtype)) {
            model.model().train(false);
            Batch batch = inputs.block(model.tokenizer(), 1, 32);
            Memory.resetPeak();
            BenchWorker.memory(record.putObject("before"));
            ArrayNode points = record.putArray("points");
            double total = 0;
            double last = 0;
            int loaded = 0;
            for (int count : new int[] {1, 4, 16, 64}) {
              while (loaded < count) {
                String name = "a" + loaded;
                last = Timing.once(() -> model.loadAdapter(name, folder));
                total += last;
                loaded++;
              }
              ObjectNode point =
                  points
                      .addObject()
                      .put("adapters", count)
                      .put("load_total_s", total)
                      .put("load_last_s", last);
              point.set(
                  "forward_32_tokens", Timing.of(5, 1, () -> forward(model, batch)).summary());
              point.put(
                  "set_adapter_s", switching(model.adapters(), "a" + (loaded - 1), "a0", 3).min());
              BenchWorker.memory(point);
            }
          }
        });
  }

  private static void forward(PretrainedModel model, Batch batch) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      model.model().logits(ModelInputs.of(batch.inputIds()));
    }
  }

  /** Gives the trained tensors values as after training, so that no zero makes work vanish. */
  static void randomise(Adapters adapters, double spread) {
    try (var _ = Scope.open();
        var _ = new NoGradGuard()) {
      for (String name : adapters.names()) {
        for (Adapter adapter : adapters.on(name).values()) {
          adapter
              .parameters()
              .forEach(
                  (key, own) -> {
                    if (!key.contains("magnitude")) { // DoRA's lengths are none to start with
                      own.normal_(0, spread, new GeneratorOptional());
                    }
                  });
        }
      }
    }
  }

  private static long size(Path folder) {
    try {
      return Files.size(folder.resolve(AdapterFiles.TENSORS));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private interface Work {
    void in(Path folder);
  }

  private static void inFolder(Work work) {
    try {
      Path folder = Files.createTempDirectory("espalier-bench");
      try {
        work.in(folder);
      } finally {
        try (DirectoryStream<Path> files = Files.newDirectoryStream(folder)) {
          for (Path file : files) {
            Files.delete(file);
          }
        }
        Files.delete(folder);
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
