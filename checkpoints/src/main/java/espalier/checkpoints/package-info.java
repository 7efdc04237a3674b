/**
 * Read {@link espalier.checkpoints.ModelSource} first: what a user names and where it is found;
 * then {@link espalier.checkpoints.TensorFile}: the tensors of what was found.
 */
package espalier.checkpoints;
