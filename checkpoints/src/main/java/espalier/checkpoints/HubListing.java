package espalier.checkpoints;

import java.util.List;

/**
 * What a repository holds at one revision.
 *
 * @param commit the commit that the revision stands for
 * @param names paths of all files; none leads out of the folder
 */
record HubListing(String commit, List<String> names) {}
