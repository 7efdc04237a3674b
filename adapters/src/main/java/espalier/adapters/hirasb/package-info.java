/** HiRA-SB. Read {@link espalier.adapters.hirasb.HiraSbLinear} first. */
package espalier.adapters.hirasb;
