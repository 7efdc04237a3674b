package espalier.text.jinja;

import espalier.text.jinja.Statement.MacroDefinition;
import espalier.text.jinja.Statement.Parameter;
import espalier.text.jinja.Statement.Signature;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** A macro with the variables that it was defined among. */
final class Macro implements Callable {

  private final Renderer renderer;
  private final MacroDefinition definition;
  private final Variables outside;

  Macro(Renderer renderer, MacroDefinition definition, Variables outside) {
    this.renderer = renderer;
    this.definition = definition;
    this.outside = outside;
  }

  String name() {
    return definition.signature().name();
  }

  @Override
  public Object call(Run run, Arguments arguments) {
    int calledAt = run.line();
    Variables inside = new Variables(outside);
    bind(arguments, inside);
    String text = run.capture(() -> renderer.run(definition.body(), inside));
    run.at(calledAt);
    return text;
  }

  private void bind(Arguments arguments, Variables inside) {
    Signature signature = definition.signature();
    List<Object> values = arguments.positional();
    Map<String, Object> names = new LinkedHashMap<>(arguments.named());
    List<Parameter> parameters = signature.parameters();
    for (int i = 0; i < parameters.size(); i++) {
      String name = parameters.get(i).name();
      if (i < values.size()) {
        inside.set(name, values.get(i));
      } else if (names.containsKey(name)) {
        inside.set(name, names.remove(name));
      } else {
        Expression otherwise = parameters.get(i).otherwise();
        inside.set(
            name,
            otherwise == null
                ? new Undefined("parameter '%s' was not provided".formatted(name))
                : renderer.evaluator().evaluate(otherwise, inside));
      }
    }
    if (signature.takesMore()) {
      int taken = Math.min(parameters.size(), values.size());
      inside.set("varargs", new Tuple(values.subList(taken, values.size())));
    } else if (values.size() > parameters.size()) {
      throw new JinjaException(
          "macro '%s' takes %d values but was given %d"
              .formatted(signature.name(), parameters.size(), values.size()));
    }
    if (signature.takesCaller() && parameters.stream().noneMatch(p -> p.name().equals("caller"))) {
      Object caller = names.remove("caller");
      inside.set("caller", caller == null ? new Undefined("no caller is defined") : caller);
    }
    if (signature.takesNames()) {
      inside.set("kwargs", names);
    } else if (!names.isEmpty()) {
      throw new JinjaException(
          "macro '%s' takes no argument named %s".formatted(signature.name(), names.keySet()));
    }
  }
}
