package espalier.text.jinja;

/** What can be called: a macro, a function of the language, a method of a value. */
@FunctionalInterface
interface Callable {

  Object call(Run run, Arguments arguments);
}
