package espalier.text;

import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.Objects;

/** The folders of the small tokenizers, written by src/test/python/make_tokenizers.py. */
final class TestFolders {

  private TestFolders() {}

  /** Byte-level with ChatML, as Qwen or SmolLM2 have it. */
  static Path byteLevel() {
    return folder("bytelevel");
  }

  /** With bytes to fall back to and a space before the first word, as Llama 2 has it. */
  static Path sentencepiece() {
    return folder("sentencepiece");
  }

  private static Path folder(String name) {
    try {
      return Path.of(Objects.requireNonNull(TestFolders.class.getResource(name)).toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }
}
