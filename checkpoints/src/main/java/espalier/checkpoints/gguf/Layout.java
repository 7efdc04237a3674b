package espalier.checkpoints.gguf;

/** What the file's converter did to a tensor, and so what reading it undoes. */
sealed interface Layout {

  /** Nothing was done. */
  record AsStored() implements Layout {}

  /**
   * The rows of each head were interleaved: llama.cpp turns neighbours for its rotary embedding,
   * Hugging Face turns an element of the first half of a head with one of the second.
   *
   * @param headRows rows of a head, an even number
   */
  record InterleavedHeads(long headRows) implements Layout {}

  /** One was added: the file holds what a norm multiplies with, Hugging Face what it adds to 1. */
  record PlusOne() implements Layout {}

  /** [out, in], where Hugging Face has [in, out]. */
  record Transposed() implements Layout {}

  /** The row of the file that belongs at {@code row} in Hugging Face's order. */
  default long stored(long row) {
    if (!(this instanceof InterleavedHeads(long headRows))) {
      return row;
    }
    long inHead = row % headRows;
    long half = headRows / 2;
    return row - inHead + inHead % half * 2 + inHead / half;
  }
}
