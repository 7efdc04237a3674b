package espalier.checkpoints.gguf;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.CheckpointException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * Files with an error in them. Each is opened and read whole, as tensors, as a model and as a
 * tokenizer; whatever it says, it is read or refused, and nothing else happens.
 */
class HostileGgufTest {

  private static final int MUTANTS = 1_200;

  /** Numbers that a count, a length, an offset or a type should never be, or only just. */
  private static final long[] ODD_NUMBERS = {
    0,
    1,
    2,
    9,
    31,
    33,
    255,
    1 << 16,
    1 << 24,
    Integer.MAX_VALUE,
    1L << 31,
    1L << 32,
    1L << 40,
    Long.MAX_VALUE,
    Long.MIN_VALUE,
    -1,
    -2,
    -32
  };

  @TempDir Path folder;

  @Test
  @Timeout(value = 300, unit = TimeUnit.SECONDS) // only ends a hang
  void a_damaged_file_is_read_or_refused_and_nothing_else() throws IOException {
    List<byte[]> sound =
        List.of(
            withTokenizer(TinyModels.llama(), TinyTokenizers.byteLevel("smollm")),
            withTokenizer(TinyModels.mixtral(), TinyTokenizers.sentencePiece()),
            withTokenizer(TinyModels.gemma3(), TinyTokenizers.gemma()),
            TinyModels.gpt2().bytes());
    for (byte[] file : sound) {
      assertThat(survives(file)).isTrue();
    }
    var random = new Random(20_240_817);

    int read = 0;
    for (int i = 0; i < MUTANTS; i++) {
      byte[] mutant = mutant(sound.get(i % sound.size()), random);
      read += survives(mutant) ? 1 : 0;
    }

    // Both ends are seen, so that neither is the only one that was tried.
    assertThat(read).isBetween(MUTANTS / 20, MUTANTS * 19 / 20);
  }

  /** Whether the file can be read; false if it is refused, and anything else is thrown on. */
  private boolean survives(byte[] bytes) throws IOException {
    Path path = Files.write(folder.resolve("mutant.gguf"), bytes);
    try (var file = GgufFile.open(path);
        var _ = new PointerScope()) {
      for (TensorInfo tensor : file.tensors()) {
        file.tensor(tensor.name(), ScalarType.Float);
      }
      if (file.metadata().has("tokenizer.ggml.model")) {
        GgufTokenizer.read(file);
      }
      var model = GgufModel.of(file);
      for (String name : model.names()) {
        model.tensor(name, ScalarType.BFloat16);
      }
      return true;
    } catch (CheckpointException e) {
      assertThat(e).hasMessageContaining("mutant.gguf");
      return false;
    }
  }

  private static byte[] mutant(byte[] sound, Random random) {
    byte[] mutant = sound.clone();
    int changes = 1 + random.nextInt(3);
    for (int i = 0; i < changes; i++) {
      mutant = changed(mutant, random);
    }
    return mutant;
  }

  private static byte[] changed(byte[] file, Random random) {
    if (file.length < 16) {
      return file;
    }
    int at = random.nextInt(file.length - 8);
    return switch (random.nextInt(6)) {
      case 0 -> {
        file[at] ^= (byte) (1 << random.nextInt(8));
        yield file;
      }
      case 1 -> Arrays.copyOf(file, random.nextInt(file.length)); // cut off
      case 2 -> {
        little(file).putLong(at, odd(random));
        yield file;
      }
      case 3 -> {
        little(file).putInt(at, (int) odd(random));
        yield file;
      }
      case 4 -> numberChanged(file, random);
      default -> spliced(file, at, random);
    };
  }

  /** Changes a small number to an odd one: in such files most of these are counts and types. */
  private static byte[] numberChanged(byte[] file, Random random) {
    int start = random.nextInt(file.length - 8);
    for (int at = start; at < file.length - 8; at++) {
      long number = little(file).getLong(at);
      if (number > 0 && number < 300) {
        little(file).putLong(at, odd(random));
        return file;
      }
    }
    return file;
  }

  /** Puts some bytes of the file in again elsewhere: arrays within arrays, keys that come twice. */
  private static byte[] spliced(byte[] file, int at, Random random) {
    int from = random.nextInt(file.length - 8);
    int length = Math.min(1 + random.nextInt(64), file.length - from);
    ByteBuffer spliced = ByteBuffer.allocate(file.length + length);
    spliced.put(file, 0, at).put(file, from, length).put(file, at, file.length - at);
    return spliced.array();
  }

  private static long odd(Random random) {
    return ODD_NUMBERS[random.nextInt(ODD_NUMBERS.length)];
  }

  private static ByteBuffer little(byte[] file) {
    return ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
  }

  /** One file of both, with a quantised tensor and arrays within arrays besides. */
  private static byte[] withTokenizer(TinyGguf model, TinyGguf tokenizer) {
    return model
        .withTokenizerOf(tokenizer)
        .key("other.nested", List.of(List.of(1, 2), List.of(3)))
        .bytes();
  }
}
