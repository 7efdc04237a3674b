package espalier.recipes;

import espalier.adapters.catalog.AdapterCatalog;
import java.util.ArrayList;
import java.util.Map;
import tools.jackson.databind.node.ObjectNode;

/** The adapter section of a recipe, in which nothing may be misspelt. */
final class RecipeAdapter {

  private RecipeAdapter() {}

  /**
   * Reads the section of a new adapter.
   *
   * @throws RecipeException naming each field that is not known, and the nearest one that is
   * @throws espalier.adapters.ConfigException if a field has a wrong value
   */
  static AdapterCatalog.Read read(ObjectNode section) {
    AdapterCatalog.Read read = AdapterCatalog.standard().read(section);
    var problems = new ArrayList<String>();
    for (Map.Entry<String, String> unknown : read.unknown().entrySet()) {
      problems.add(
          "adapter.%s is not a field of %s; nearest is %s"
              .formatted(unknown.getKey(), read.config().peftType(), unknown.getValue()));
    }
    if (!problems.isEmpty()) {
      throw new RecipeException("the recipe is wrong: " + String.join("; ", problems));
    }
    return read;
  }

  /**
   * Checks the section of an adapter that is trained on, whose settings are those of its folder.
   *
   * @throws RecipeException if it says more than the folder
   */
  static void requireAlone(ObjectNode section) {
    var more = new ArrayList<>(section.propertyNames());
    if (more.remove("from") && !more.isEmpty()) {
      throw new RecipeException(
          "adapter has from and %s but the settings are those of the folder; leave out either from or the others"
              .formatted(String.join(", ", more)));
    }
    if (section.has("from") && !section.get("from").isString()) {
      throw new RecipeException(
          "adapter.from is %s but the folder of an adapter is expected, such as from: runs/first"
              .formatted(section.get("from")));
    }
  }
}
