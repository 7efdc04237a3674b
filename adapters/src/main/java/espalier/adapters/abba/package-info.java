/** ABBA. Read {@link espalier.adapters.abba.AbbaLinear} first. */
package espalier.adapters.abba;
