/** Read {@link espalier.adapters.catalog.AdapterCatalog} first: the one list of methods. */
package espalier.adapters.catalog;
