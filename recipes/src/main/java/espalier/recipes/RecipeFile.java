package espalier.recipes;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.List;
import tools.jackson.core.JacksonException;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;
import tools.jackson.dataformat.yaml.YAMLMapper;

/** Reads recipes from YAML or JSON, which YAML contains. */
public final class RecipeFile {

  private static final YAMLMapper YAML =
      YAMLMapper.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();

  private RecipeFile() {}

  /**
   * Reads a recipe.
   *
   * @param overrides {@code path=value} each, such as {@code training.steps=20}; the value is YAML
   * @throws RecipeException if the file can not be read or the recipe is wrong
   */
  public static Recipe read(Path file, List<String> overrides) {
    if (Files.isDirectory(file)) {
      throw new RecipeException(
          "the recipe %s is a folder; give the path of a YAML or JSON file".formatted(file));
    }
    try {
      return parse(Files.readString(file), overrides);
    } catch (NoSuchFileException e) {
      throw new RecipeException(
          "there is no recipe %s; give the path of a YAML or JSON file".formatted(file), e);
    } catch (IOException e) {
      throw new RecipeException("the recipe %s can not be read: %s".formatted(file, e), e);
    }
  }

  /** A recipe from its text. */
  public static Recipe parse(String text, List<String> overrides) {
    JsonNode tree;
    try {
      tree = YAML.readTree(text);
    } catch (JacksonException e) {
      throw new RecipeException(
          "the recipe is not YAML: %s; check the indentation and the quotes near there"
              .formatted(firstLine(e)),
          e);
    }
    if (!(tree instanceof ObjectNode recipe)) {
      throw new RecipeException(
          "the recipe is %s but must be a list of keys such as model: and adapter:"
              .formatted(tree.isMissingNode() ? "empty" : tree.getNodeType()));
    }
    overrides.forEach(override -> apply(recipe, override));
    RecipeSchema.check(recipe);
    return Recipe.of(new Section(recipe, ""));
  }

  private static void apply(ObjectNode recipe, String override) {
    int equals = override.indexOf('=');
    if (equals < 1) {
      throw new RecipeException(
          "--set %s is not path=value; write --set training.steps=20".formatted(override));
    }
    String[] path = override.substring(0, equals).split("\\.", -1);
    JsonNode value;
    try {
      value = YAML.readTree(override.substring(equals + 1));
    } catch (JacksonException e) {
      throw new RecipeException("--set %s: %s".formatted(override, firstLine(e)), e);
    }
    ObjectNode at = recipe;
    for (int i = 0; i < path.length - 1; i++) {
      JsonNode next = at.get(path[i]);
      if (next == null) {
        at = at.putObject(path[i]);
      } else if (next instanceof ObjectNode object) {
        at = object;
      } else {
        throw new RecipeException(
            "--set %s goes through %s, which is not a section".formatted(override, path[i]));
      }
    }
    at.set(path[path.length - 1], value);
  }

  /** A recipe that was written by {@link #write}. */
  static ObjectNode tree(String yaml) {
    return (ObjectNode) YAML.readTree(yaml);
  }

  /** The recipe as YAML, with what the file left out filled in. */
  public static String write(ObjectNode recipe) {
    return YAML.writeValueAsString(recipe);
  }

  private static String firstLine(JacksonException e) {
    String location =
        e.getLocation() == null
            ? ""
            : " (line %d, column %d)"
                .formatted(e.getLocation().getLineNr(), e.getLocation().getColumnNr());
    return e.getOriginalMessage().lines().findFirst().orElse("") + location;
  }
}
