package espalier.cli;

import espalier.adapters.StateMismatchException;
import espalier.nn.Native;
import espalier.text.FileContentsException;
import espalier.text.TemplateException;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.NoSuchFileException;
import java.util.List;
import java.util.regex.Pattern;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.UnmatchedArgumentException;

/** Errors as one paragraph on standard error, and the exit code that they mean. */
final class ErrorReport {

  /** The work failed. */
  static final int FAILED = 1;

  /** The command line or the recipe is wrong. */
  static final int WRONG = 2;

  /** How Jackson writes a place that it may not show, within its sentences. */
  private static final Pattern JACKSON_PLACE =
      Pattern.compile(" ?\\(start marker at \\[Source: [^\\]]*]\\)| ?(at )?\\[Source: [^\\]]*]");

  private ErrorReport() {}

  /** Writes an error of the work. */
  static int write(Throwable error, PrintWriter to, boolean verbose) {
    paragraph(sentence(error), error, to, verbose);
    return switch (error) {
      // Wrong values are the caller's, but what a file holds is not.
      case StateMismatchException _, FileContentsException _, TemplateException _ -> FAILED;
      case IllegalArgumentException e when e.getCause() instanceof FileContentsException -> FAILED;
      case IllegalArgumentException _ -> WRONG;
      default -> FAILED;
    };
  }

  /** Writes an error of the command line. */
  static int writeUsage(ParameterException error, PrintWriter to, boolean verbose) {
    String command = error.getCommandLine().getCommandSpec().qualifiedName();
    List<String> nearest =
        error instanceof UnmatchedArgumentException unmatched
            ? unmatched.getSuggestions()
            : List.of();
    String hint =
        nearest.isEmpty()
            ? "see " + command + " --help"
            : "did you mean %s? See %s --help".formatted(String.join(" or ", nearest), command);
    paragraph(error.getMessage() + "; " + hint, error, to, verbose);
    return WRONG;
  }

  private static void paragraph(String text, Throwable error, PrintWriter to, boolean verbose) {
    String line = JACKSON_PLACE.matcher(text.strip()).replaceAll("");
    to.println("error: " + line.replaceAll("\\s*\\R\\s*", " "));
    if (verbose) {
      error.printStackTrace(to);
    }
    to.flush();
  }

  /** What went wrong, for a person. */
  static String sentence(Throwable error) {
    return switch (error) {
      case OutOfMemoryError _ ->
          ("the Java heap of %d MB is full; give it more with ESPALIER_JAVA_OPTS=-Xmx4g, or read"
                  + " less data at once")
              .formatted(Runtime.getRuntime().maxMemory() >> 20);
      case StackOverflowError _ ->
          "the stack is full: something is nested too deeply, such as a file of JSON or a chat"
              + " template; run again with --verbose to see what";
      case LinkageError e ->
          "a library could not be loaded: %s; is this the build for this machine?".formatted(e);
      case UncheckedIOException e -> sentence(cause(e));
      case NoSuchFileException e ->
          "there is no %s; check the name of the file".formatted(e.getFile());
      case AccessDeniedException e ->
          "%s may not be read or written; check its owner and rights".formatted(e.getFile());
      case FileAlreadyExistsException e ->
          "%s is there already; choose another name".formatted(e.getFile());
      case RuntimeException e -> e.getMessage() == null ? e.toString() : Native.message(e);
      default -> error.getMessage() == null ? error.toString() : error.getMessage();
    };
  }

  private static Throwable cause(UncheckedIOException e) {
    IOException cause = e.getCause();
    return cause == null ? new IOException(e.getMessage()) : cause;
  }
}
