package espalier.adapters.hirasb;

import espalier.adapters.Violations;

/**
 * How HiRA-SB takes its bases from the first gradient of the task.
 *
 * @param updateTarget which first step of full fine-tuning the bases are to hold
 * @param alsSweeps sweeps of alternating least squares; 0 leaves the balanced SVD
 * @param calibrationBatches batches of the task to average the gradient over
 * @param matchStep the learning rate of the first full step that R starts at, or 0 to start at none
 * @param seed of the random draws of the start
 * @param basisDtype what the bases are rounded to
 * @param memory bytes that averaged gradients may take at once, or 0 for a quarter of what is free;
 *     a layer's own gradient is always allowed. Never saved
 */
public record StartSettings(
    UpdateTarget updateTarget,
    int alsSweeps,
    int calibrationBatches,
    double matchStep,
    int seed,
    BasisDtype basisDtype,
    long memory) {

  /** Checks the numbers. */
  public StartSettings {
    new Violations()
        .unless(alsSweeps >= 0, "als_sweeps is %d but must be 0 or more", alsSweeps)
        .unless(
            calibrationBatches >= 1,
            "calibration_batches is %d but must be 1 or more",
            calibrationBatches)
        .unless(
            matchStep >= 0 && Double.isFinite(matchStep),
            "match_step is %s but must be finite and 0 or more; 0 starts at the base",
            matchStep)
        .unless(
            memory >= 0,
            "init_memory is %d but must be 0 bytes or more; 0 takes a quarter of what is free",
            memory)
        .raise();
  }

  /** Signs, two sweeps, sixteen batches, R = 0. */
  public static StartSettings defaults() {
    return new StartSettings(UpdateTarget.SIGN, 2, 16, 0, 0, BasisDtype.FLOAT32, 0);
  }

  /** The same with another target for the bases. */
  public StartSettings withUpdateTarget(UpdateTarget target) {
    return new StartSettings(
        target, alsSweeps, calibrationBatches, matchStep, seed, basisDtype, memory);
  }

  /** The same with another number of sweeps. */
  public StartSettings withAlsSweeps(int sweeps) {
    return new StartSettings(
        updateTarget, sweeps, calibrationBatches, matchStep, seed, basisDtype, memory);
  }

  /** The same with another first step to start at. */
  public StartSettings withMatchStep(double rate) {
    return new StartSettings(
        updateTarget, alsSweeps, calibrationBatches, rate, seed, basisDtype, memory);
  }

  /** The same with other random draws. */
  public StartSettings withSeed(int other) {
    return new StartSettings(
        updateTarget, alsSweeps, calibrationBatches, matchStep, other, basisDtype, memory);
  }

  /** The same with bases of another precision. */
  public StartSettings withBasisDtype(BasisDtype dtype) {
    return new StartSettings(
        updateTarget, alsSweeps, calibrationBatches, matchStep, seed, dtype, memory);
  }

  /** The same with other room for averaged gradients, in bytes. */
  public StartSettings withMemory(long bytes) {
    return new StartSettings(
        updateTarget, alsSweeps, calibrationBatches, matchStep, seed, basisDtype, bytes);
  }
}
