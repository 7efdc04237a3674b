/**
 * Read {@link espalier.cli.Main} first: the list of commands. Each command is a class that is named
 * after it; what several share is a mixin such as {@link espalier.cli.ModelOptions}.
 */
package espalier.cli;
