package espalier.recipes;

import com.github.victools.jsonschema.generator.FieldScope;
import com.github.victools.jsonschema.generator.Option;
import com.github.victools.jsonschema.generator.OptionPreset;
import com.github.victools.jsonschema.generator.SchemaGenerator;
import com.github.victools.jsonschema.generator.SchemaGeneratorConfigBuilder;
import com.github.victools.jsonschema.generator.SchemaVersion;
import com.networknt.schema.Error;
import com.networknt.schema.Schema;
import com.networknt.schema.SchemaRegistry;
import com.networknt.schema.SpecificationVersion;
import espalier.adapters.Nearest;
import espalier.training.DataFormat;
import espalier.training.Schedule;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** The JSON schema of recipes, made from the records so that it can not drift from them. */
public final class RecipeSchema {

  private static final ObjectNode TEXT = generate();
  private static final Schema SCHEMA =
      SchemaRegistry.withDefaultDialect(SpecificationVersion.DRAFT_2020_12)
          .getSchema(TEXT.toString());

  private RecipeSchema() {}

  /** The schema, draft 2020-12. */
  public static ObjectNode json() {
    return TEXT.deepCopy();
  }

  private static ObjectNode generate() {
    var builder =
        new SchemaGeneratorConfigBuilder(SchemaVersion.DRAFT_2020_12, OptionPreset.PLAIN_JSON)
            .with(Option.FORBIDDEN_ADDITIONAL_PROPERTIES_BY_DEFAULT)
            .with(Option.INLINE_ALL_SCHEMAS);
    builder
        .forFields()
        .withPropertyNameOverrideResolver(field -> snake(field.getDeclaredName()))
        .withDescriptionResolver(RecipeSchema::description);
    builder
        .forTypesInGeneral()
        .withCustomDefinitionProvider(
            (type, context) -> {
              Class<?> raw = type.getErasedType();
              ObjectNode node = context.getGeneratorConfig().createObjectNode();
              if (raw == ObjectNode.class) {
                return new com.github.victools.jsonschema.generator.CustomDefinition(
                    node.put("type", "object"));
              }
              if (raw.isEnum()) {
                ArrayNode names = node.put("type", "string").putArray("enum");
                for (Object constant : raw.getEnumConstants()) {
                  String name = ((Enum<?>) constant).name().toLowerCase(Locale.ROOT);
                  names.add(name.replace('_', '-'));
                  if (raw == OptimizerType.class && name.contains("_")) {
                    names.add(name); // as Python's libraries write them
                  }
                }
                return new com.github.victools.jsonschema.generator.CustomDefinition(node);
              }
              if (List.class.isAssignableFrom(raw)
                  && type.getTypeParameters().getFirst().isInstanceOf(Double.class)) {
                node.put("type", "array").putObject("items").put("type", "number");
                return new com.github.victools.jsonschema.generator.CustomDefinition(node);
              }
              if (List.class.isAssignableFrom(raw)) {
                ArrayNode either = node.putArray("anyOf");
                either.addObject().put("type", "string");
                either.addObject().put("type", "array").putObject("items").put("type", "string");
                return new com.github.victools.jsonschema.generator.CustomDefinition(node);
              }
              return null;
            });
    ObjectNode schema = new SchemaGenerator(builder.build()).generateSchema(Recipe.class);
    schema.put("title", "Espalier recipe");
    oneOf(schema, "/properties/training/properties/schedule", Schedule.NAMES);
    oneOf(
        schema,
        "/properties/data/properties/format",
        Arrays.stream(DataFormat.values()).map(DataFormat::recipeName).toList());
    nameAloneIsEnough((ObjectNode) schema.at("/properties/training/properties/optimizer"));
    return schema;
  }

  /** Names the words that a text may be; those of two words may be joined with _ as well. */
  private static void oneOf(ObjectNode schema, String pointer, List<String> words) {
    ArrayNode known = ((ObjectNode) schema.at(pointer)).putArray("enum");
    for (String word : words) {
      known.add(word);
      if (word.contains("-")) {
        known.add(word.replace('-', '_'));
      }
    }
  }

  /** Lets a section be the value of its {@code type}, for one that needs no settings. */
  private static void nameAloneIsEnough(ObjectNode section) {
    section.putArray("type").add("string").add("object");
    section.putArray("required").add("type");
    section.putObject("if").put("type", "string");
    section.set("then", section.at("/properties/type").deepCopy());
  }

  private static @Nullable String description(FieldScope field) {
    Doc doc = field.getAnnotation(Doc.class);
    return doc == null ? null : doc.value();
  }

  static String snake(String name) {
    var out = new StringBuilder();
    for (int i = 0; i < name.length(); i++) {
      char c = name.charAt(i);
      if (Character.isUpperCase(c)) {
        out.append('_').append(Character.toLowerCase(c));
      } else {
        out.append(c);
      }
    }
    return out.toString();
  }

  /**
   * Checks a recipe.
   *
   * @throws RecipeException with every violation, and for an unknown key the nearest known one
   */
  public static void check(ObjectNode recipe) {
    var problems = new ArrayList<String>();
    unknownKeys(recipe, TEXT, "", problems);
    var types = new LinkedHashMap<String, List<String>>();
    for (Error error : SCHEMA.validate(recipe)) {
      switch (String.valueOf(error.getKeyword())) {
        case "additionalProperties" -> {} // told above, with the nearest key
        case "type" ->
            types
                .computeIfAbsent(error.getInstanceLocation().toString(), _ -> new ArrayList<>())
                .addAll(types(error.getSchemaNode()));
        default -> problems.add(problem(recipe, error));
      }
    }
    types.forEach(
        (pointer, expected) ->
            problems.add(
                "%s is %s but must be %s"
                    .formatted(
                        path(pointer),
                        recipe.at(pointer),
                        String.join(" or ", expected.stream().distinct().toList()))));
    if (!problems.isEmpty()) {
      throw new RecipeException(
          "the recipe is wrong: " + String.join("; ", problems.stream().distinct().toList()));
    }
  }

  private static String problem(ObjectNode recipe, Error error) {
    String pointer = error.getInstanceLocation().toString();
    JsonNode value = recipe.at(pointer);
    if ("enum".equals(error.getKeyword()) && error.getSchemaNode() instanceof ArrayNode words) {
      return oneOf(path(pointer), value, words.valueStream().map(JsonNode::asString).toList());
    }
    return "%s is %s but %s"
        .formatted(path(pointer), value, expected(String.valueOf(error.getMessage())));
  }

  private static String oneOf(String path, JsonNode value, List<String> words) {
    // Both spellings are read, and one is enough to tell.
    List<String> shown =
        words.stream()
            .filter(word -> !words.contains(word.replace('_', '-')) || !word.contains("_"))
            .toList();
    return "%s is %s but must be one of %s%s"
        .formatted(
            path,
            value,
            String.join(", ", shown),
            value.isString() ? "; nearest is " + Nearest.of(value.asString(), shown) : "");
  }

  private static String path(String pointer) {
    return pointer.isEmpty() ? "it" : pointer.replaceFirst("^/", "").replace('/', '.');
  }

  private static List<String> types(JsonNode keyword) {
    return keyword.isArray()
        ? keyword.valueStream().map(each -> type(each.asString())).toList()
        : List.of(type(keyword.asString()));
  }

  private static String type(String name) {
    return switch (name) {
      case "integer" -> "a whole number";
      case "number" -> "a number";
      case "string" -> "a text";
      case "boolean" -> "true or false";
      case "array" -> "a list";
      case "object" -> "a section of keys";
      default -> name;
    };
  }

  private static String expected(String message) {
    int colon = message.indexOf(": ");
    return (message.startsWith("/") || message.startsWith("$")) && colon > 0
        ? message.substring(colon + 2)
        : message;
  }

  private static void unknownKeys(
      JsonNode value, JsonNode schema, String path, List<String> problems) {
    JsonNode properties = schema.get("properties");
    if (!value.isObject() || properties == null) {
      return;
    }
    var known = new ArrayList<>(properties.propertyNames());
    for (String key : value.propertyNames()) {
      String name = path.isEmpty() ? key : path + "." + key;
      if (!known.contains(key)) {
        problems.add(
            "%s is not a key of a recipe; nearest is %s, known here are %s"
                .formatted(name, Nearest.of(key, known), String.join(", ", known)));
      } else {
        unknownKeys(value.get(key), properties.get(key), name, problems);
      }
    }
  }
}
