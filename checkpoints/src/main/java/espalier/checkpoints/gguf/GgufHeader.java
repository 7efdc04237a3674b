package espalier.checkpoints.gguf;

import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Collections;
import java.util.Map;

/**
 * What stands before the numbers: the version, the metadata and where each tensor is.
 *
 * @param version 2 or 3
 * @param metadata keys and values in file order
 * @param tensors by name, in file order; each lies within the file and overlaps no other
 */
record GgufHeader(int version, GgufMetadata metadata, Map<String, TensorInfo> tensors) {

  private static final int MAGIC = 0x46554747; // "GGUF", little-endian
  private static final long LARGEST_ALIGNMENT = 1 << 20;

  GgufHeader {
    tensors = Collections.unmodifiableMap(tensors);
  }

  /** Reads and checks the header of a mapped file. */
  static GgufHeader read(Path path, MemorySegment file) {
    var in = new HeaderCursor(path, file);
    int magic = in.int32("the magic bytes");
    if (magic != MAGIC) {
      throw in.unread(
          0,
          "the file starts with 0x%08x, but a GGUF file with GGUF (0x%08x)"
              .formatted(Integer.reverseBytes(magic), Integer.reverseBytes(MAGIC)));
    }
    int version = in.int32("the version");
    refuseVersion(in, version);
    var tensorReader = new TensorReader(in);
    var metadataReader = new MetadataReader(in);
    int tensors = tensorReader.count();
    int keys = metadataReader.count();
    var metadata = new GgufMetadata(path, metadataReader.read(keys));
    return new GgufHeader(version, metadata, tensorReader.read(tensors, alignment(in, metadata)));
  }

  private static void refuseVersion(HeaderCursor in, int version) {
    if (version == 1) {
      throw in.unread(
          4, "the file is of GGUF version 1, which was replaced in 2023; convert the model again");
    }
    if (version != 0 && (version & 0xffff) == 0) { // the version's bytes, read the wrong way round
      throw in.unread(4, "the file is big-endian; convert the model to a little-endian file");
    }
    if (version != 2 && version != 3) {
      throw in.unread(
          4,
          "the file is of GGUF version %s, but 2 and 3 are read"
              .formatted(Integer.toUnsignedString(version)));
    }
  }

  private static long alignment(HeaderCursor in, GgufMetadata metadata) {
    long alignment = metadata.integer("general.alignment", 32);
    if (Long.bitCount(alignment) != 1 || alignment < 1 || alignment > LARGEST_ALIGNMENT) {
      throw in.refused(
          in.at(),
          "general.alignment is %d, but an alignment is a power of two, %d at most"
              .formatted(alignment, LARGEST_ALIGNMENT));
    }
    return alignment;
  }
}
