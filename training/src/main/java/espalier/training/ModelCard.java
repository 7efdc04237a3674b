package espalier.training;

import espalier.text.WholeFile;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import tools.jackson.databind.json.JsonMapper;

/**
 * The README of an adapter's folder: a header that model hubs read, as PEFT writes it, and what was
 * trained on what.
 *
 * @param name of the adapter, the heading
 * @param baseModel the model that it belongs to, as {@code adapter_config.json} names it
 * @param peftType the method, as {@code adapter_config.json} names it: {@code LORA}, {@code HIRA}
 * @param pipelineTag what it is for, such as {@code text-generation}
 * @param training facts about the run, in order; empty to leave them out
 * @param versions of the software, in order; empty to leave them out
 * @param samples answers before and after; empty to leave them out
 */
public record ModelCard(
    String name,
    String baseModel,
    String peftType,
    String pipelineTag,
    Map<String, String> training,
    Map<String, String> versions,
    List<Sample> samples) {

  public ModelCard {
    if (baseModel.isBlank()) {
      throw new IllegalArgumentException(
          "base_model is blank, but a card names the model that the adapter belongs to");
    }
    training = Collections.unmodifiableMap(new LinkedHashMap<>(training)); // keeps the order
    versions = Collections.unmodifiableMap(new LinkedHashMap<>(versions));
    samples = List.copyOf(samples);
  }

  /** Writes {@code README.md} into {@code folder}, whole or not at all; an old one is replaced. */
  public void write(Path folder) throws IOException {
    WholeFile.write(folder.resolve("README.md"), markdown());
  }

  /** The card. */
  public String markdown() {
    var out = new ArrayList<String>();
    header(out);
    out.add("# " + plain(name));
    out.add("");
    out.add(
        "A %s adapter for %s, trained with Espalier. It is in the format of PEFT, so either reads it."
            .formatted(plain(peftType), code(baseModel)));
    out.add("");
    use(out);
    table(out, "Training", training);
    samples(out);
    if (!versions.isEmpty()) {
      out.add("### Framework versions");
      out.add("");
      versions.forEach((what, version) -> out.add("- " + plain(what) + " " + plain(version)));
      out.add("");
    }
    return String.join("\n", out);
  }

  private void header(List<String> out) {
    out.add("---");
    out.add("base_model: " + yaml(baseModel));
    out.add("library_name: peft");
    out.add("pipeline_tag: " + yaml(pipelineTag));
    out.add("tags:");
    out.add("- " + yaml("base_model:adapter:" + baseModel));
    out.add("- " + yaml(peftType.toLowerCase(Locale.ROOT)));
    out.add("- espalier");
    out.add("- transformers");
    out.add("---");
    out.add("");
  }

  private void use(List<String> out) {
    out.add("## Use");
    out.add("");
    out.add("```sh");
    out.add("espalier chat --model %s --adapter .".formatted(shell(located(baseModel))));
    out.add("```");
    out.add("");
    out.add("```python");
    out.add("from peft import PeftModel");
    out.add("from transformers import " + autoModel());
    out.add("");
    out.add("base = %s.from_pretrained(%s)".formatted(autoModel(), yaml(baseModel)));
    out.add("model = PeftModel.from_pretrained(base, \".\")");
    out.add("```");
    out.add("");
  }

  /** The class of Transformers that loads the base for this task. */
  private String autoModel() {
    return switch (pipelineTag) {
      case "text-generation" -> "AutoModelForCausalLM";
      case "text2text-generation" -> "AutoModelForSeq2SeqLM";
      case "text-classification" -> "AutoModelForSequenceClassification";
      case "token-classification" -> "AutoModelForTokenClassification";
      default -> "AutoModel";
    };
  }

  /** A model of the hub as the command line names it; anything else is a path already. */
  private static String located(String model) {
    return model.matches("[\\w-][\\w.-]*/[\\w.-]+") ? "hub:" + model : model;
  }

  private void samples(List<String> out) {
    if (samples.isEmpty()) {
      return;
    }
    out.add("## Before and after");
    out.add("");
    out.add("| prompt | before | after |");
    out.add("|---|---|---|");
    for (Sample sample : samples) {
      out.add(
          "| %s | %s | %s |"
              .formatted(
                  plain(sample.prompt()),
                  plain(Objects.requireNonNullElse(sample.before(), "–")),
                  plain(Objects.requireNonNullElse(sample.after(), "–"))));
    }
    out.add("");
  }

  private static void table(List<String> out, String heading, Map<String, String> facts) {
    if (facts.isEmpty()) {
      return;
    }
    out.add("## " + heading);
    out.add("");
    out.add("| | |");
    out.add("|---|---|");
    facts.forEach((key, value) -> out.add("| %s | %s |".formatted(plain(key), plain(value))));
    out.add("");
  }

  /**
   * A string that YAML, JSON and Python all read alike; a bare {@code 1e5} or {@code no} is none.
   */
  private static String yaml(String value) {
    return JsonMapper.shared().writeValueAsString(value);
  }

  private static String shell(String value) {
    return value.matches("[\\w./:@+-]+") ? value : "'" + value.replace("'", "'\\''") + "'";
  }

  private static String code(String value) {
    return "`" + value.replace("`", "'").replaceAll("\\R", " ") + "`";
  }

  /** Text that stays on its line, in its cell, and is not mark-up. */
  private static String plain(String value) {
    return value
        .strip()
        .replace("\\", "\\\\")
        .replace("&", "&amp;")
        .replace("<", "&lt;")
        .replaceAll("([|*_`\\[\\]#])", "\\\\$1")
        .replaceAll("\\R", "<br>");
  }
}
