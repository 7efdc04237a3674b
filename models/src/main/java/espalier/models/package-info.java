/**
 * Read {@link espalier.models.Families} first: it turns a {@code config.json} and weights into a
 * {@link espalier.models.Model}. A family is a row of data, {@code DecoderSpec}; one {@code Stack}
 * of {@code Block}s computes them all.
 */
package espalier.models;
