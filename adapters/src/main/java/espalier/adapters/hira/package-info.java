/** HiRA. Read {@link espalier.adapters.hira.HiraLinear} first. */
package espalier.adapters.hira;
