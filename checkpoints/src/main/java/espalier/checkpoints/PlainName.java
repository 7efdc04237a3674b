package espalier.checkpoints;

/** Names from strangers that are to become files. */
final class PlainName {

  private PlainName() {}

  /** Whether {@code name} stays in the folder that it is resolved against, on any system. */
  static boolean is(String name) {
    return !name.isEmpty()
        && name.length() <= 255
        && !name.equals(".")
        && !name.equals("..")
        && name.chars().noneMatch(c -> c < ' ' || c == '/' || c == '\\' || c == ':');
  }

  /** The same for a path of plain names with slashes between them. */
  static boolean isPath(String path) {
    for (String part : path.split("/", -1)) {
      if (!is(part)) {
        return false;
      }
    }
    return true;
  }
}
