/**
 * Read {@link espalier.text.jinja.Template} first: the part of the Jinja language that chat
 * templates use, interpreted, with limits.
 *
 * <p>The way of a template: {@code Lexer} cuts the source into tokens, {@code StatementParser} and
 * {@code ExpressionParser} make a tree of {@code Statement}s and {@code Expression}s, {@code
 * Renderer} walks the statements and {@code Evaluator} the expressions. A {@code Run} is one
 * rendering and holds what is spent of its {@link espalier.text.jinja.Limits}.
 *
 * <p>Values are plain Java: {@code String}, {@code Long}, {@code Double}, {@code Boolean}, {@code
 * List}, {@code Map} with insertion order, and a few types of this package for what Java lacks
 * ({@code None}, {@code Undefined}, {@code Tuple}, ...). None of them is ever changed after it was
 * made, as in the sandbox that the Python reference renders in; the exception is a {@code
 * Namespace}, which exists to be changed. There is no {@code null}.
 */
package espalier.text.jinja;
