/** What several starts compute from data. Read {@link espalier.adapters.calibration.Prepared}. */
package espalier.adapters.calibration;
