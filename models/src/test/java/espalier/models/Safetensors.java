package espalier.models;

import static org.bytedeco.pytorch.global.torch.from_blob;

import espalier.nn.Native;
import espalier.nn.Scope;
import espalier.nn.Weights;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** As much of the safetensors format as the fixtures use. */
final class Safetensors implements Weights {

  static {
    Native.prepare();
  }

  private final Map<String, Tensor> tensors = new HashMap<>();

  static Safetensors read(Path file) {
    var read = new Safetensors();
    try (Arena arena = Arena.ofConfined();
        FileChannel channel = FileChannel.open(file)) {
      MemorySegment all = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
      long header = all.get(ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN), 0);
      byte[] json = all.asSlice(8, header).toArray(ValueLayout.JAVA_BYTE);
      JsonNode entries = JsonMapper.shared().readTree(new String(json, StandardCharsets.UTF_8));
      for (Map.Entry<String, JsonNode> entry : entries.properties()) {
        if (!entry.getKey().equals("__metadata__")) {
          read.put(entry.getKey(), entry.getValue(), all, 8 + header);
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return read;
  }

  private void put(String name, JsonNode entry, MemorySegment all, long start) {
    long[] shape = new long[entry.get("shape").size()];
    for (int i = 0; i < shape.length; i++) {
      shape[i] = entry.get("shape").get(i).asLong();
    }
    ScalarType dtype =
        switch (entry.get("dtype").asString()) {
          case "F32" -> ScalarType.Float;
          case "I64" -> ScalarType.Long;
          default -> throw new IllegalArgumentException(entry.toString());
        };
    MemorySegment data = all.asSlice(start + entry.get("data_offsets").get(0).asLong());
    tensors.put(
        name,
        Scope.owned(
            () -> from_blob(Native.pointer(data), shape, new TensorOptions(dtype)).clone()));
  }

  @Override
  public @Nullable Tensor find(String key) {
    return tensors.get(key);
  }
}
