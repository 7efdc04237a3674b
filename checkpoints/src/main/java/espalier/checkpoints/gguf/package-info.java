/**
 * GGUF files; read {@link espalier.checkpoints.gguf.GgufModel} first: it gives a file as the config
 * and weights that Hugging Face would have, and {@link espalier.checkpoints.gguf.GgufTokenizer} its
 * tokenizer. {@link espalier.checkpoints.gguf.GgufFile} is the file as it stands.
 *
 * @see <a href="https://github.com/ggml-org/ggml/blob/master/docs/gguf.md">the file format</a>
 */
package espalier.checkpoints.gguf;
