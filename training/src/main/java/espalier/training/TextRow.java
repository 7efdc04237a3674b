package espalier.training;

/** A text that is learned whole. */
public record TextRow(String text, RowSource source) implements Row {}
