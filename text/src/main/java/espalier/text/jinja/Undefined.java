package espalier.text.jinja;

/**
 * What a name or field that is not there evaluates to: prints as nothing, is false, has no
 * elements, and is an error in all other uses.
 *
 * @param reason why it is undefined, for the error
 */
record Undefined(String reason) {

  JinjaException error() {
    return new JinjaException(reason);
  }
}
