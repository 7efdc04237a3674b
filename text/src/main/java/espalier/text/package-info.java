/**
 * Read {@link espalier.text.Tokenizer} first, then {@link espalier.text.ExampleEncoder}.
 *
 * <p>Nothing here knows a tensor: text becomes Java arrays of token ids and labels. Chat templates
 * are programs that come with a checkpoint, from strangers; they run in an interpreter of our own
 * that has limits, see {@link espalier.text.ChatTemplate}.
 */
package espalier.text;
