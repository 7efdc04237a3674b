/**
 * Read {@link espalier.adapters.Adapters} first: it attaches, activates, merges, saves and loads
 * the adapters of a model. A method is an {@link espalier.adapters.AdapterConfig}, which makes the
 * adapter of one layer, and an {@link espalier.adapters.AdapterFormat}, which says how both stand
 * on disk.
 */
package espalier.adapters;
