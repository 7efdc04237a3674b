package espalier.adapters.lora.starts;

import espalier.adapters.ConfigException;
import espalier.adapters.calibration.Observation;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.SideBySide;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Linear;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** The batches go by until the components that win a rank stand still. */
final class EvaRun implements AutoCloseable {

  private final Map<String, Linear> layers;
  private final LoraInit.Eva eva;
  private final EvaOptions options;
  private final Map<String, Integer> ranks;
  private final Map<String, EvaLayer> analyses = new LinkedHashMap<>();
  private final Map<String, String> owners = new LinkedHashMap<>();
  private final Set<String> listening = new LinkedHashSet<>();
  private final KeptRows kept = new KeptRows();
  private @Nullable Tensor mask; // of the batch that runs
  private @Nullable Object keeping; // what tells the batch that runs, if its rows are kept

  /**
   * A run over linear layers.
   *
   * @param ranks what each layer has before; their sum is shared out
   */
  EvaRun(
      Map<String, Linear> layers,
      LoraInit.Eva eva,
      EvaOptions options,
      Map<String, Integer> ranks) {
    this.layers = layers;
    this.eva = eva;
    this.options = options;
    this.ranks = ranks;
  }

  /**
   * Finds the components.
   *
   * @param counts how many components of each layer may count, by path
   * @param data batches, which are gone through again and again
   * @return for each layer that was seen its components [rank, in], rank 0 included
   */
  Prepared run(Map<String, Integer> counts, Iterable<EvaBatch> data) {
    group(counts, data);
    var most = new LinkedHashMap<String, Integer>();
    analyses.forEach((path, analysis) -> most.put(path, analysis.count()));
    owners.forEach((path, owner) -> most.put(path, of(owner).count()));
    Map<String, Integer> won = most;
    try (var _ = new Observation(owned(), path -> (x, y) -> seen(path, x, y))) {
      Iterator<EvaBatch> batches = data.iterator();
      for (int done = 0; !settled(won); done++) {
        if (done == options.maxBatches()) {
          options
              .warnings()
              .accept(
                  "EVA stopped after %d batches while %d of %d layers had not converged; give more or larger batches, or a smaller tau"
                      .formatted(done, listening.size(), analyses.size()));
          break;
        }
        if (!batches.hasNext()) {
          batches = data.iterator();
        }
        try (var _ = new PointerScope()) {
          take(batches.next());
        }
        if (analyses.values().stream().allMatch(EvaLayer::known)) {
          won = shared();
        }
        options
            .progress()
            .accept(
                "EVA: batch %d, %d of %d layers have converged"
                    .formatted(done + 1, convergedWith(won), analyses.size()));
      }
    }
    return result(shared());
  }

  private static EvaBatch first(Iterable<EvaBatch> data) {
    Iterator<EvaBatch> batches = data.iterator();
    if (!batches.hasNext()) {
      throw new ConfigException("EVA got no batch of data; give it some text to look at");
    }
    return batches.next();
  }

  /** Layers that get the same rows share one analysis, which the first of them owns. */
  private void group(Map<String, Integer> counts, Iterable<EvaBatch> data) {
    var inputs = new LinkedHashMap<String, String>();
    var bytes = new LinkedHashMap<String, Long>();
    try (var _ = new PointerScope();
        var _ =
            new Observation(
                layers,
                path ->
                    (x, y) -> {
                      Tensor rows = rows(path, x);
                      inputs.computeIfAbsent(path, _ -> Fingerprint.of(rows));
                      bytes.merge(path, rows.nbytes(), Long::sum);
                      return y;
                    })) {
      forward(first(data));
    }
    var byInput = new LinkedHashMap<String, String>();
    var most = new LinkedHashMap<String, Integer>();
    layers
        .keySet()
        .forEach(
            path -> {
              String input = inputs.get(path);
              if (input == null) {
                throw new IllegalStateException(
                    "%s got no input while the model ran; take it out of target_modules, or run the model so that it is used"
                        .formatted(path));
              }
              String owner = byInput.putIfAbsent(input, path);
              if (owner != null) {
                owners.put(path, owner);
              }
              most.merge(
                  owner == null ? path : owner,
                  Objects.requireNonNull(counts.get(path)),
                  Integer::max);
            });
    // Other batches may be longer.
    kept.expect(2 * most.keySet().stream().mapToLong(path -> bytes.getOrDefault(path, 0L)).sum());
    most.forEach((path, count) -> analyses.put(path, new EvaLayer(path, count, eva.tau())));
  }

  /** Takes a batch in: from its rows if it was there before, else by running the model. */
  private void take(EvaBatch batch) {
    if (batch.data() == null || (kept.of(batch) == null && !kept.room())) {
      forward(batch);
      return;
    }
    if (kept.of(batch) == null) {
      keeping = batch.data();
      try {
        forward(batch);
      } finally {
        keeping = null;
      }
    }
    Map<String, List<Tensor>> rows = Objects.requireNonNullElse(kept.of(batch), Map.of());
    SideBySide.each(
        List.copyOf(listening), path -> rows.getOrDefault(path, List.of()).forEach(of(path)::add));
  }

  private void forward(EvaBatch batch) {
    mask = batch.mask();
    try {
      batch.run().run();
    } finally {
      mask = null;
    }
  }

  private Tensor rows(String path, Tensor x) {
    return options.rowsAt(path).of(x, mask, path);
  }

  private Tensor seen(String path, Tensor x, Tensor y) {
    Object data = keeping;
    if (data != null || listening.contains(path)) {
      try (var _ = new PointerScope()) {
        Tensor rows = rows(path, x);
        EvaLayer analysis = of(path);
        if (rows.size(0) < analysis.count()) {
          options
              .warnings()
              .accept(
                  "%s: a batch is passed over because it has %d rows for %d components"
                      .formatted(path, rows.size(0), analysis.count()));
        } else if (data != null) {
          kept.put(data, path, rows);
        } else {
          analysis.add(rows);
        }
      }
    }
    return y;
  }

  /** Decides which layers go on; whether none does. */
  private boolean settled(Map<String, Integer> won) {
    listening.clear();
    analyses.forEach(
        (path, analysis) -> {
          if (!analysis.converged(won.getOrDefault(path, 0))) {
            listening.add(path);
          }
        });
    return listening.isEmpty();
  }

  private long convergedWith(Map<String, Integer> won) {
    return analyses.values().stream()
        .filter(analysis -> analysis.converged(won.getOrDefault(analysis.path(), 0)))
        .count();
  }

  private Map<String, Integer> shared() {
    var explained = new LinkedHashMap<String, float[]>();
    analyses.forEach(
        (path, analysis) -> {
          if (analysis.known()) {
            explained.put(path, analysis.explained());
          }
        });
    owners.forEach(
        (path, owner) -> {
          float[] same = explained.get(owner);
          if (same != null) {
            explained.put(path, same);
          }
        });
    int budget = explained.keySet().stream().mapToInt(path -> ranks.getOrDefault(path, 0)).sum();
    return EvaRanks.shared(explained, owners, budget);
  }

  private Prepared result(Map<String, Integer> won) {
    var prepared = new Prepared();
    try (var _ = new PointerScope()) {
      won.forEach(
          (path, rank) -> {
            EvaLayer analysis = of(owners.getOrDefault(path, path));
            prepared.put(path, LoraInit.Eva.COMPONENTS, analysis.components(rank, eva.whiten()));
          });
      return prepared;
    } catch (RuntimeException e) {
      prepared.close();
      throw e;
    }
  }

  private Map<String, Linear> owned() {
    var owned = new LinkedHashMap<>(layers);
    owned.keySet().retainAll(analyses.keySet());
    return owned;
  }

  private EvaLayer of(String path) {
    return Objects.requireNonNull(analyses.get(path), path);
  }

  @Override
  public void close() {
    analyses.values().forEach(EvaLayer::close);
    kept.close();
  }
}
