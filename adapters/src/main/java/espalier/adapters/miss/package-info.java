/** MiSS. Read {@link espalier.adapters.miss.MissLinear} first. */
package espalier.adapters.miss;
