package espalier.text;

import espalier.text.jinja.JinjaException;
import espalier.text.jinja.Limits;
import espalier.text.jinja.Template;
import java.time.Clock;
import java.time.ZoneId;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A chat template: turns a conversation into the text that the model was trained to read.
 *
 * <p>A template is a program in the Jinja language that comes with a checkpoint. It is interpreted
 * as the Python reference does, which this module's tests compare text for text; it can reach
 * nothing but the values that are handed to it and the clock, and it is stopped with a {@link
 * TemplateException} when it takes too many steps, writes too much or nests too deep. A template
 * may be rendered by several threads at once.
 */
public final class ChatTemplate {

  /** Names of a message's reasoning, the one that counts first. */
  private static final List<String> REASONING =
      List.of("reasoning_content", "thinking", "reasoning");

  private final String source;
  private final Template template;
  private final Map<String, Object> known;
  private final Clock clock;
  private final Limits limits;

  private ChatTemplate(
      String source, Template template, Map<String, Object> known, Clock clock, Limits limits) {
    this.source = source;
    this.template = template;
    this.known = known;
    this.clock = clock;
    this.limits = limits;
  }

  /**
   * Parses a template.
   *
   * @param source Jinja, as {@code chat_template} of {@code tokenizer_config.json} holds it
   * @throws TemplateException when it is not a template; says where
   */
  public static ChatTemplate parse(String source) {
    try {
      return new ChatTemplate(
          source,
          Template.parse(source),
          Map.of(),
          Clock.system(ZoneId.systemDefault()),
          Limits.DEFAULT);
    } catch (JinjaException e) {
      throw new TemplateException(
          "the chat template cannot be parsed: %s; mend the template or give another"
              .formatted(e.getMessage()),
          e);
    }
  }

  /** The same template, which knows these variables besides those of each rendering. */
  public ChatTemplate withVariables(Map<String, ?> variables) {
    Map<String, Object> all = new LinkedHashMap<>(known);
    all.putAll(variables);
    return new ChatTemplate(source, template, all, clock, limits);
  }

  /** The same template, which prints dates by this clock, in its zone. */
  public ChatTemplate withClock(Clock clock) {
    return new ChatTemplate(source, template, known, clock, limits);
  }

  /**
   * The same template with other limits.
   *
   * @param steps expressions and statements that a rendering may evaluate; 1,000,000 by default
   * @param output UTF-16 units that it may write; 4 Mi by default
   */
  public ChatTemplate withLimits(long steps, int output) {
    return new ChatTemplate(
        source, template, known, clock, limits.withSteps(steps).withOutput(output));
  }

  /**
   * Renders a conversation.
   *
   * @param messages each a {@link Message}, or a map with at least {@code role} and {@code content}
   *     as parsed from JSON. Reasoning may be named {@code reasoning_content}, {@code thinking} or
   *     {@code reasoning}; the template finds it under the first two.
   * @param addGenerationPrompt whether the text shall end with what starts the assistant's answer
   * @param variables what the template may read besides, such as {@code tools} or {@code
   *     enable_thinking}: strings, numbers, booleans, null, and lists and maps of these
   * @throws TemplateException when the template refuses the conversation or passes a limit
   * @throws IllegalArgumentException for a message or variable of another type
   */
  public Rendering render(List<?> messages, boolean addGenerationPrompt, Map<String, ?> variables) {
    Map<String, Object> all = new LinkedHashMap<>();
    all.put("tools", null); // as the reference: there, though none
    all.put("documents", null);
    all.putAll(known);
    all.putAll(variables);
    all.put("messages", messages.stream().map(ChatTemplate::fields).toList());
    all.put("add_generation_prompt", addGenerationPrompt);
    try {
      Template.Rendered rendered = template.render(all, clock, limits);
      List<Span> generated = new ArrayList<>();
      for (int[] span : rendered.generated()) {
        generated.add(new Span(span[0], span[1]));
      }
      return new Rendering(rendered.text(), generated);
    } catch (JinjaException e) {
      throw new TemplateException(
          "the chat template refused the conversation: %s".formatted(e.getMessage()), e);
    }
  }

  private static Object fields(Object message) {
    return switch (message) {
      case Message typed -> withReasoning(typed.asMap());
      case Map<?, ?> fields -> withReasoning(fields);
      default ->
          throw new IllegalArgumentException(
              "a message is a %s but a Message or a map with role and content is expected"
                  .formatted(message.getClass().getName()));
    };
  }

  /**
   * A message whose reasoning stands under each name that templates read it by: data sets name it
   * one way, templates another.
   */
  private static Map<?, ?> withReasoning(Map<?, ?> message) {
    for (String name : REASONING) {
      Object reasoning = message.get(name);
      if (reasoning != null) {
        Map<Object, Object> all = new LinkedHashMap<>();
        all.put("thinking", reasoning);
        all.putAll(message);
        all.put("reasoning_content", reasoning);
        return all;
      }
    }
    return message;
  }

  /** Whether the template marks what the assistant says with {@code {% generation %}}. */
  public boolean marksGenerated() {
    return template.marksGenerated();
  }

  /** The template as it was written. */
  public String source() {
    return source;
  }
}
