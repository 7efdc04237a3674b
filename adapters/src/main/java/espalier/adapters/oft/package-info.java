/** OFT. Read {@link espalier.adapters.oft.OftLinear} first. */
package espalier.adapters.oft;
