package espalier.text.jinja;

/** Python's None, so that no value is ever Java's null. */
enum None {
  NONE
}
