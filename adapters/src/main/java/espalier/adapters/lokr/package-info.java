/** LoKr. Read {@link espalier.adapters.lokr.LokrAdapter} first. */
package espalier.adapters.lokr;
