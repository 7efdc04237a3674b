/**
 * Read {@link espalier.nn.Adaptable} first: a layer with a frozen weight and a slot for adapters. A
 * model is a tree of {@link espalier.nn.Layer}s whose paths are the keys of its checkpoint.
 */
package espalier.nn;
