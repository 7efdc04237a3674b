package espalier.checkpoints;

/**
 * A file of a repository, as the hub describes it before it is fetched.
 *
 * @param name its path in the repository
 * @param etag what it is stored under in the cache; the SHA-256 of a large file's content
 * @param size in bytes, or -1 if the hub does not say
 */
record HubFile(String name, String etag, long size) {

  /** Whether the etag is the content's SHA-256, as it is for files of Git LFS. */
  boolean hasSha256() {
    return etag.matches("[0-9a-f]{64}");
  }
}
