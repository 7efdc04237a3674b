/** SHiRA. Read {@link espalier.adapters.shira.ShiraLinear} first. */
package espalier.adapters.shira;
