package espalier.adapters.adalora;

/** An adapter that has AdaLoRA's factors. */
interface AdaloraFactored {

  /** The factors. */
  AdaloraFactors factors();
}
