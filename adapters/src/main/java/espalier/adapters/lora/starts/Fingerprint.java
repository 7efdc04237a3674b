package espalier.adapters.lora.starts;

import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/** A short text that two tensors share only if their shape and all their bytes are equal. */
final class Fingerprint {

  private static final int CHUNK = 1 << 24;

  private Fingerprint() {}

  static String of(Tensor tensor) {
    try (var _ = new PointerScope()) {
      var digest = MessageDigest.getInstance("SHA-256");
      Tensor plain = tensor.detach().cpu().contiguous();
      long bytes = plain.nbytes();
      if (bytes > 0) {
        BytePointer data = new BytePointer(plain.data_ptr());
        for (long at = 0; at < bytes; at += CHUNK) {
          digest.update(data.position(at).limit(Math.min(at + CHUNK, bytes)).asByteBuffer());
        }
      }
      return Arrays.toString(plain.shape()) + HexFormat.of().formatHex(digest.digest());
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("each Java has SHA-256", e);
    }
  }
}
