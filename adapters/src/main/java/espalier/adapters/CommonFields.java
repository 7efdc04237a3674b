package espalier.adapters;

import java.util.List;
import java.util.Map;

/** The fields that all methods, or most of them, have in common. */
final class CommonFields {

  /** The version of PEFT whose files these are. */
  private static final String PEFT_VERSION = "0.21.2";

  private CommonFields() {}

  static ConfigHead readHead(ConfigFields in) {
    String task = in.textOrNull("task_type");
    ConfigFields mapping = in.nested("auto_mapping");
    AutoMapping auto =
        mapping == null
            ? null
            : new AutoMapping(
                mapping.text("base_model_class", ""), mapping.text("parent_library", ""));
    return new ConfigHead(
        task == null ? null : task(task),
        auto,
        in.textOrNull("base_model_name_or_path"),
        in.textOrNull("revision"),
        in.flag("inference_mode", false),
        Map.of());
  }

  private static TaskType task(String name) {
    for (TaskType type : TaskType.values()) {
      if (type.name().equals(name)) {
        return type;
      }
    }
    throw new ConfigException(
        "task_type is %s but one of %s is expected".formatted(name, List.of(TaskType.values())));
  }

  static void writeHead(String peftType, ConfigHead head, ConfigWriter out) {
    TaskType task = head.taskType();
    out.put("peft_type", peftType)
        .put("peft_version", PEFT_VERSION)
        .put("inference_mode", true) // a saved adapter is for use until somebody says otherwise
        .put("task_type", task == null ? null : task.name())
        .put("base_model_name_or_path", head.baseModel())
        .put("revision", head.revision());
    AutoMapping auto = task == null ? head.autoMapping() : null;
    if (auto == null) {
      out.put("auto_mapping", (String) null);
    } else {
      out.putNested(
          "auto_mapping",
          ConfigWriter.empty()
              .put("base_model_class", auto.baseModelClass())
              .put("parent_library", auto.parentLibrary()));
    }
  }

  static Targets readTargets(ConfigFields in) {
    OneOrMany<String> names = in.textOrTexts("target_modules");
    OneOrMany<String> without = in.textOrTexts("exclude_modules");
    OneOrMany<Integer> layers = in.integerOrIntegers("layers_to_transform");
    OneOrMany<String> pattern = in.textOrTexts("layers_pattern");
    if (pattern != null && !pattern.isEmpty() && layers == null) {
      in.warn("layers_pattern has no effect without layers_to_transform");
    }
    return new Targets(
        names == null ? new Modules.ByArchitecture() : modules(names),
        without == null || without.isEmpty() ? null : exclusion(without),
        layers,
        pattern,
        null,
        in.textsOrNull("modules_to_save"),
        in.flag("fan_in_fan_out", false));
  }

  private static Modules modules(OneOrMany<String> names) {
    return names.one() ? Modules.of(names.values().getFirst()) : new Modules.Named(names.values());
  }

  private static Modules exclusion(OneOrMany<String> names) {
    return names.one()
        ? new Modules.Matching(names.values().getFirst())
        : new Modules.Named(names.values());
  }

  static void writeTargets(Targets targets, ConfigWriter out) {
    writeChoice(targets, out);
    out.put("fan_in_fan_out", targets.fanInFanOut());
  }

  static void writeChoice(Targets targets, ConfigWriter out) {
    out.put("target_modules", targets.modules())
        .put("exclude_modules", targets.exclude())
        .put("layers_to_transform", targets.layers())
        .put("layers_pattern", targets.layersPattern())
        .put("modules_to_save", targets.saved());
  }
}
