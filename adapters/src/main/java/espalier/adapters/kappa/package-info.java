/** Choosing layers by how evenly they pass on what they get. Read {@link Kappa} first. */
package espalier.adapters.kappa;
