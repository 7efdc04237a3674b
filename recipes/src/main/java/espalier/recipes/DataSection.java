package espalier.recipes;

import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * What to learn from.
 *
 * @param train files or globs: .jsonl .json .csv .parquet
 * @param eval files or globs that are only looked at
 * @param evalFraction the part of the training rows that is only looked at, in [0, 1); 0 for none
 * @param format messages, prompt-completion, text or tokens; null finds it out
 * @param trainOn assistant or all
 * @param maxLength tokens of the longest example or packed row; 0 for {@link #USUAL_LENGTH}, or as
 *     many as the model reads if that is less
 * @param packing whether whole examples share rows
 * @param overlong what becomes of a longer example: truncate or error
 * @param shuffle whether each epoch has an order of its own
 * @param startExamples examples that a start looks at which needs data; 0 for its usual number
 */
public record DataSection(
    @Doc("Files or globs to learn from: .jsonl .json .csv .parquet") List<String> train,
    @Doc("Files or globs that are only looked at") List<String> eval,
    @Doc("The part of the training rows that is only looked at, in [0, 1)") double evalFraction,
    @Doc("messages, prompt-completion, text or tokens; found out where left out")
        @Nullable String format,
    @Doc("Train on the assistant's tokens or on all") TrainOn trainOn,
    @Doc(
            "Tokens of the longest example or packed row; left out or 0: 1024, or what the model"
                + " reads")
        int maxLength,
    @Doc("Whether whole examples share rows, attention kept within each") boolean packing,
    @Doc("What becomes of an example longer than max_length") Overlong overlong,
    @Doc("Whether each epoch has an order of its own") boolean shuffle,
    @Doc("Examples that CorDA, EVA and LoRA-GA look at before training; 0 for the usual number")
        int startExamples) {

  /** What max_length is where nobody says, and the model reads as much. */
  public static final int USUAL_LENGTH = 1024;

  /** What is trained on. */
  public enum TrainOn {
    ASSISTANT,
    ALL
  }

  /** What becomes of an example that is too long. */
  public enum Overlong {
    TRUNCATE,
    ERROR
  }

  /** Copies the lists. */
  public DataSection {
    train = List.copyOf(train);
    eval = List.copyOf(eval);
    if (train.isEmpty()) {
      throw new RecipeException(
          "data.train names no file but needs one or more, such as train: my.train.jsonl");
    }
    if (!eval.isEmpty() && evalFraction > 0) {
      throw new RecipeException(
          "data has eval and eval_fraction but the evaluation data comes from one of them; leave"
              + " one out");
    }
    if (maxLength < 0) {
      throw new RecipeException(
          "data.max_length is %d but must be 1 or more; leave it out for the usual %d"
              .formatted(maxLength, USUAL_LENGTH));
    }
    if (startExamples < 0) {
      throw new RecipeException(
          "data.start_examples is %d but 1 or more are looked at; 0 is the usual number"
              .formatted(startExamples));
    }
  }

  DataSection withMaxLength(int length) {
    return new DataSection(
        train,
        eval,
        evalFraction,
        format,
        trainOn,
        length,
        packing,
        overlong,
        shuffle,
        startExamples);
  }

  private static @Nullable String format(@Nullable String word) {
    return word == null ? null : word.replace('_', '-');
  }

  static DataSection of(Section in) {
    return new DataSection(
        in.strings("train"),
        in.strings("eval"),
        in.number("eval_fraction", 0),
        format(in.stringOrNull("format")),
        in.choice("train_on", TrainOn.ASSISTANT),
        in.integer("max_length", 0),
        in.flag("packing", true),
        in.choice("overlong", Overlong.TRUNCATE),
        in.flag("shuffle", true),
        in.integer("start_examples", 0));
  }
}
