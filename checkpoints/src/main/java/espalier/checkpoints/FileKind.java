package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** What a file is that calls itself safetensors and is not, told by its first bytes. */
enum FileKind {
  LFS_POINTER("version ", "this is a Git LFS pointer, not the file itself; run git lfs pull"),
  ZIP("PK\3\4", "this is a zip as torch.save writes it; " + PickleRefusal.CONVERT),
  PICKLE("\u0080", "this is a pickle; " + PickleRefusal.CONVERT),
  GGUF("GGUF", "this is a GGUF file; give it the ending .gguf"),
  WEB_PAGE("<", "this is a web page, perhaps of a login or an error; download the file itself"),
  UNKNOWN("", "this is no safetensors file, or it is damaged; copy or download it again");

  private final String begin;
  private final String hint;

  FileKind(String begin, String hint) {
    this.begin = begin;
    this.hint = hint;
  }

  static FileKind of(MemorySegment file) {
    var first = file.asSlice(0, Math.min(8, file.byteSize())).toArray(ValueLayout.JAVA_BYTE);
    String text = new String(first, ISO_8859_1);
    for (FileKind kind : values()) {
      if (text.startsWith(kind.begin)) {
        return kind;
      }
    }
    return UNKNOWN;
  }

  String hint() {
    return hint;
  }
}
