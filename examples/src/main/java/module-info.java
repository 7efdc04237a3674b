import org.jspecify.annotations.NullMarked;

/** Examples. */
@NullMarked
module espalier.examples {
  requires espalier.recipes;
}
