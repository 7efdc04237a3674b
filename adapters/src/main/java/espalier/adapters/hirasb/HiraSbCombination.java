package espalier.adapters.hirasb;

import static org.bytedeco.pytorch.global.torch.cat;

import espalier.adapters.AdapterContents;
import espalier.adapters.ConfigException;
import espalier.adapters.hira.HiraConfig;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.jspecify.annotations.Nullable;

/**
 * Several adapters of HiRA-SB as one whose update is the weighted sum of theirs.
 *
 * <p>Adapters in the same bases, such as those trained apart from one start, become HiRA-SB again:
 * their R are added. Others become one adapter of HiRA whose rank is the sum of theirs.
 */
public final class HiraSbCombination {

  private static final String MARK = "." + HiraSbAdapter.R;

  private HiraSbCombination() {}

  /**
   * One adapter that counts.
   *
   * @param config its config
   * @param tensors by their key in its file
   * @param weight on its update
   */
  public record Source(HiraSbConfig config, Map<String, Tensor> tensors, double weight) {}

  /**
   * The sum in the bases that all sources share, or as one adapter of HiRA where they share none.
   *
   * @throws ConfigException if neither can be made of them
   */
  public static AdapterContents of(List<Source> sources) {
    Source first = first(sources);
    return sources.stream().allMatch(source -> difference(first, source) == null)
        ? inSameBases(sources)
        : asHira(sources);
  }

  /**
   * The sum in the bases that all sources share.
   *
   * @throws ConfigException if their bases, scales or layers differ
   */
  public static AdapterContents inSameBases(List<Source> sources) {
    Source first = first(sources);
    for (Source source : sources) {
      requireSame(first, source);
    }
    var sum = new LinkedHashMap<>(first.tensors());
    sum.replaceAll(
        (key, tensor) -> {
          if (!key.endsWith(MARK)) {
            return tensor;
          }
          Tensor r = tensor.mul(new Scalar(first.weight()));
          for (Source source : sources.subList(1, sources.size())) {
            r.add_(Objects.requireNonNull(source.tensors().get(key)), new Scalar(source.weight()));
          }
          return r;
        });
    return new AdapterContents(first.config(), sum);
  }

  private static void requireSame(Source first, Source other) {
    String difference = difference(first, other);
    if (difference != null) {
      throw new ConfigException(difference);
    }
  }

  /** What keeps two adapters from being added in one basis, or null. */
  private static @Nullable String difference(Source first, Source other) {
    if (first.config().space() != other.config().space()
        || !first.tensors().keySet().equals(other.tensors().keySet())) {
      return "adapters of HIRA_SB are added only where they have the same space and layers; combine"
          + " them as HIRA instead";
    }
    for (Map.Entry<String, Tensor> entry : first.tensors().entrySet()) {
      String key = entry.getKey();
      Tensor there = Objects.requireNonNull(other.tensors().get(key));
      boolean same =
          key.endsWith(MARK)
              ? scale(first, key) == scale(other, key)
              : entry.getValue().equal(there);
      if (!same) {
        return "%s differs between the adapters but R is added only in the same bases at the same scale; combine them as HIRA instead"
            .formatted(key);
      }
    }
    return null;
  }

  private static double scale(Source source, String key) {
    String path = key.substring(0, key.length() - MARK.length());
    Tensor a = HiraSbExport.there(source.tensors(), path, HiraSbAdapter.A);
    Tensor b = HiraSbExport.there(source.tensors(), path, HiraSbAdapter.B);
    return source.config().scaleOf(b.size(0), a.numel() / a.size(0), a.size(0));
  }

  /**
   * The sum as one adapter of HiRA, whose factors are those of the sources side by side.
   *
   * @throws ConfigException if a source is no adapter of HiRA, or has layers that were trained
   *     whole
   */
  public static AdapterContents asHira(List<Source> sources) {
    HiraConfig joined = null;
    var left = new TreeMap<String, List<Tensor>>();
    var right = new TreeMap<String, List<Tensor>>();
    for (Source source : sources) {
      AdapterContents hira = source.config().exportedAs("HIRA", source.tensors());
      HiraConfig config = (HiraConfig) hira.config();
      if (joined != null && !joined.targets().equals(config.targets())) {
        throw new ConfigException(
            "the adapters have other targets; combine such as were made for the same layers");
      }
      joined = joined == null ? config : joined.withR(joined.r() + config.r());
      hira.tensors()
          .forEach(
              (key, tensor) -> {
                if (key.endsWith(".hira_A")) {
                  right.computeIfAbsent(key, _ -> new ArrayList<>()).add(tensor);
                } else if (key.endsWith(".hira_B")) {
                  left.computeIfAbsent(key, _ -> new ArrayList<>())
                      .add(tensor.mul(new Scalar(source.weight())));
                } else {
                  throw new ConfigException(
                      "%s was trained whole and can not be combined; leave it out".formatted(key));
                }
              });
    }
    if (joined == null) {
      throw none();
    }
    var tensors = new LinkedHashMap<String, Tensor>();
    right.forEach((key, parts) -> tensors.put(key, joined(parts, 0)));
    left.forEach((key, parts) -> tensors.put(key, joined(parts, 1)));
    return new AdapterContents(joined, tensors);
  }

  private static Tensor joined(List<Tensor> parts, long dimension) {
    var vector = new TensorVector();
    parts.forEach(vector::push_back);
    return cat(vector, dimension);
  }

  private static Source first(List<Source> sources) {
    if (sources.isEmpty()) {
      throw none();
    }
    return sources.getFirst();
  }

  private static ConfigException none() {
    return new ConfigException("no adapter was named to combine; name one or more");
  }
}
