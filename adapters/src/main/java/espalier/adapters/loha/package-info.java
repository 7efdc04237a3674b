/** LoHa. Read {@link espalier.adapters.loha.LohaAdapter} first. */
package espalier.adapters.loha;
