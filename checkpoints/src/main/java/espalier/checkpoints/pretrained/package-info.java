/**
 * Read {@link espalier.checkpoints.pretrained.PretrainedModel} first: a model, its tokenizer and
 * its adapters out of whatever form a checkpoint has.
 */
package espalier.checkpoints.pretrained;
