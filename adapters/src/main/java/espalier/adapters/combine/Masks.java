package espalier.adapters.combine;

import static org.bytedeco.pytorch.global.torch.bernoulli;
import static org.bytedeco.pytorch.global.torch.full;

import espalier.nn.Init;
import org.bytedeco.pytorch.Generator;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** Which entries are kept where entries are dropped at random. */
@FunctionalInterface
public interface Masks {

  /**
   * What a mask is for.
   *
   * @param source number of the source among the sources, from 0
   * @param adapter the source's name
   * @param path the layer
   * @param tensor {@code A}, {@code B}, or {@code BA} for the update
   */
  record Place(int source, String adapter, String path, String tensor) {}

  /**
   * A mask: 1 where an entry is kept and 0 where it is dropped.
   *
   * @param shape of the tensor as it is stored
   * @param density probability that an entry is kept
   * @return float32, as many entries as {@code shape} has
   */
  Tensor draw(Place place, long[] shape, double density);

  /**
   * A stream of its own for each tensor of each source, so that the draws do not depend on the
   * order of layers: the normal case.
   */
  static Masks seeded(long seed) {
    return (place, shape, density) ->
        bernoulli(
            full(shape, new Scalar(density)),
            new GeneratorOptional(
                Init.stream(
                        seed,
                        "%d/%s/%s".formatted(place.source(), place.adapter(), place.tensor()),
                        place.path())
                    .generator()));
  }

  /**
   * One stream for all: layer by layer, of each all A and then all B, source by source. After the
   * draws of a new adapter's own start it gives the reference's masks.
   */
  static Masks shared(Generator generator) {
    return (_, shape, density) ->
        bernoulli(full(shape, new Scalar(density)), new GeneratorOptional(generator));
  }
}
