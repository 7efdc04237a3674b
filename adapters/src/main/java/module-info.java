/**
 * Adapter methods, their configs and formats, and attaching them to a model. Read {@link
 * espalier.adapters.Adapters} first.
 */
@org.jspecify.annotations.NullMarked
module espalier.adapters {
  exports espalier.adapters;
  exports espalier.adapters.abba;
  exports espalier.adapters.adalora;
  exports espalier.adapters.calibration;
  exports espalier.adapters.catalog;
  exports espalier.adapters.gralora;
  exports espalier.adapters.combine;
  exports espalier.adapters.hira;
  exports espalier.adapters.hirasb;
  exports espalier.adapters.kappa;
  exports espalier.adapters.loha;
  exports espalier.adapters.lokr;
  exports espalier.adapters.lora;
  exports espalier.adapters.lora.starts;
  exports espalier.adapters.lycoris;
  exports espalier.adapters.miss;
  exports espalier.adapters.oft;
  exports espalier.adapters.shira;

  requires transitive espalier.nn;
  requires transitive tools.jackson.databind;
  requires org.bytedeco.javacpp;
  requires org.bytedeco.pytorch;
  requires static org.jspecify;
}
