/**
 * What LoHa and LoKr have in common. Read {@link espalier.adapters.lycoris.LycorisAdapter} first.
 */
package espalier.adapters.lycoris;
