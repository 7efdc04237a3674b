package espalier.checkpoints;

import espalier.checkpoints.TensorFile.Entry;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Checks that tensors cover the data of a file exactly: no hole, no overlap, nothing beyond. */
final class SafetensorsLayout {

  private SafetensorsLayout() {}

  /** The entries in the order of their data. */
  static Map<String, Entry> check(
      Path path, Map<String, Entry> entries, long dataStart, long dataLength) {
    List<Map.Entry<String, Entry>> ordered =
        entries.entrySet().stream()
            .sorted(
                Comparator.comparingLong((Map.Entry<String, Entry> e) -> e.getValue().begin())
                    .thenComparingLong(e -> e.getValue().end()))
            .toList();
    var checked = LinkedHashMap.<String, Entry>newLinkedHashMap(ordered.size());
    String before = "the header";
    long end = 0;
    for (var named : ordered) {
      Entry entry = named.getValue();
      if (entry.end() > dataLength) {
        throw CheckpointException.at(
            path,
            dataStart + dataLength,
            ("the file ends here, but %s lacks %d bytes more; it was cut short, copy or"
                    + " download it again")
                .formatted(named.getKey(), entry.end() - dataLength));
      }
      if (entry.begin() < end) {
        throw CheckpointException.at(
            path,
            dataStart + entry.begin(),
            "%s begins here, but %s ends at byte %d only; no two tensors may overlap"
                .formatted(named.getKey(), before, dataStart + end));
      }
      if (entry.begin() > end) {
        throw hole(path, dataStart + end, entry.begin() - end, before);
      }
      checked.put(named.getKey(), entry);
      before = named.getKey();
      end = entry.end();
    }
    if (end < dataLength) {
      throw hole(path, dataStart + end, dataLength - end, before);
    }
    return checked;
  }

  private static CheckpointException hole(Path path, long at, long bytes, String before) {
    return CheckpointException.at(
        path,
        at,
        "%s after %s belong to no tensor; the header and the data are not of one file"
            .formatted(Bytes.text(bytes), before));
  }
}
