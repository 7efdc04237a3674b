package espalier.adapters.lora.starts;

import espalier.adapters.calibration.Observation;
import espalier.adapters.calibration.TensorCache;
import espalier.adapters.lora.LoraInit;
import espalier.nn.Layer;
import espalier.nn.Linear;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.jspecify.annotations.Nullable;

/**
 * The covariances of the inputs of some layers.
 *
 * @param byPath [in, in] by path
 * @param calls how many calls each is the mean of, by path; empty if a file did not tell
 */
record Covariances(Map<String, Tensor> byPath, Map<String, Integer> calls) {

  Tensor at(String path) {
    return Objects.requireNonNull(byPath.get(path), path);
  }

  /** Paths, those together that follow each other and have the same covariance. */
  List<List<String>> equal(Iterable<String> paths) {
    var groups = new ArrayList<List<String>>();
    Tensor before = null;
    for (String path : paths) {
      Tensor covariance = at(path);
      if (before == null || !same(before, covariance)) {
        groups.add(new ArrayList<>());
      }
      groups.getLast().add(path);
      before = covariance;
    }
    return groups;
  }

  private static boolean same(Tensor one, Tensor other) {
    return Arrays.equals(one.shape(), other.shape()) && torch.equal(one, other);
  }

  /** From the file of the config, or by running the model and then kept in the file. */
  static Covariances of(
      Map<String, Linear> layers,
      LoraInit.Corda corda,
      @Nullable Runnable runModel,
      TensorCache cache,
      Layer observed) {
    String file = corda.covarianceFile();
    var kept = file == null ? null : cache.read(file).orElse(null);
    if (file != null && kept != null) {
      return read(layers, file, kept);
    }
    if (runModel == null) {
      throw new IllegalStateException(
          "the covariances of the inputs are not known and runModel is null; pass what runs the"
              + " model, or name a covariance_file or cache_file that is there");
    }
    var covariances = observe(layers, corda.halfCovariance(), runModel, observed);
    if (file != null) {
      cache.write(file, covariances.byPath);
    }
    return covariances;
  }

  private static Covariances read(
      Map<String, Linear> layers, String file, Map<String, Tensor> kept) {
    var byPath = new LinkedHashMap<String, Tensor>();
    layers.forEach(
        (path, layer) -> {
          Tensor covariance = Kept.tensor(kept, file, path);
          long[] shape = {layer.in(), layer.in()};
          if (!Arrays.equals(covariance.shape(), shape)) {
            throw new IllegalStateException(
                "%s: the covariance in %s is %s but %s is needed; it was made for another model, delete it to compute it anew"
                    .formatted(
                        path, file, Arrays.toString(covariance.shape()), Arrays.toString(shape)));
          }
          byPath.put(path, covariance);
        });
    return new Covariances(byPath, Map.of());
  }

  private static Covariances observe(
      Map<String, Linear> layers, boolean half, Runnable runModel, Layer observed) {
    boolean training = observed.training();
    try (var sums = new InputCovariance(half)) {
      observed.train(false);
      try (var _ = new Observation(counterparts(layers, observed), sums::observer)) {
        runModel.run();
      } finally {
        observed.train(training);
      }
      var calls = new LinkedHashMap<String, Integer>();
      Map<String, Tensor> byPath = sums.means(layers.keySet());
      byPath.keySet().forEach(path -> calls.put(path, sums.calls(path)));
      return new Covariances(byPath, calls);
    }
  }

  /** The layers of the model that runs, by the paths of the model that is adapted. */
  private static Map<String, Linear> counterparts(Map<String, Linear> layers, Layer observed) {
    var there = observed.layers();
    var counterparts = new LinkedHashMap<String, Linear>();
    layers.forEach(
        (path, own) -> {
          if (there.get(path) instanceof Linear layer && layer.in() == own.in()) {
            counterparts.put(path, layer);
          }
        });
    return counterparts;
  }
}
