package espalier.adapters;

import espalier.nn.Adaptable;
import espalier.nn.Adapter;
import espalier.nn.Init;

/** Makes the adapters for a kind of layer of the user's own. */
@FunctionalInterface
public interface AdapterFactory {

  /** As {@link AdapterConfig#create}, which it stands in for. */
  Adapter create(AdapterConfig config, Adaptable layer, String path, Init init);
}
