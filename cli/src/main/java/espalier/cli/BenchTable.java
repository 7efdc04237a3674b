package espalier.cli;

import espalier.adapters.combine.CombinationType;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

/** Ours beside the reference: medians over the rounds, and what one is of the other. */
final class BenchTable {

  /**
   * A figure of a section.
   *
   * @param name what is measured, with its unit
   * @param pointer where it stands in our results
   * @param their where it stands in the reference's, or null if there is nothing like it
   * @param peak where the peak of memory stands, or null if it belongs to another row
   */
  private record Figure(
      String name, String pointer, @Nullable String their, @Nullable String peak) {

    Figure(String name, String pointer, @Nullable String peak) {
      this(name, pointer, pointer, peak);
    }
  }

  private static final List<Figure> SWITCHING =
      List.of(
          switching("SHiRA r 16 switch s", "/shira_r16/switch/min_s"),
          switching("SHiRA r 32 switch s", "/shira_r32/switch/min_s"),
          switching("LoRA r 16 merge s", "/lora_r16/merge/min_s"),
          new Figure(
              "our SHiRA r 16 switch beside their LoRA r 16 merge s",
              "/shira_r16/switch/min_s",
              "/peft_lora_r16/merge/min_s",
              null),
          new Figure(
              "SHiRA r 16 switches in the time of a LoRA r 16 merge of the same side",
              "/shira_r16/lora_merges",
              "/shira_r16/lora_merges",
              null));

  private static Figure switching(String name, String pointer) {
    return new Figure(name, pointer, "/peft_" + pointer.substring(1), null);
  }

  private static final Map<String, List<Figure>> FIGURES =
      Map.ofEntries(
          Map.entry("train", List.of(new Figure("s/step", "/step/median_s", "/peak_mb"))),
          Map.entry("packed", List.of(new Figure("tokens/s", "/real_tokens_per_s", "/peak_mb"))),
          Map.entry(
              "generate",
              List.of(
                  new Figure("decode tokens/s", "/decode_tokens_per_s", "/peak_mb"),
                  new Figure("first token s", "/first_token/median_s", null))),
          Map.entry(
              "ops",
              List.of(
                  new Figure("load_model s", "/load_model/median_s", "/hwm_mb"),
                  new Figure("get_peft_model s", "/get_peft_model/median_s", null),
                  new Figure("save_adapter s", "/save_adapter/median_s", null),
                  new Figure("load_adapter_on_base s", "/load_adapter_on_base/median_s", null),
                  new Figure("merge_adapter s", "/merge_adapter/median_s", null),
                  new Figure("unmerge_adapter s", "/unmerge_adapter/median_s", null),
                  new Figure("load_second_adapter s", "/load_second_adapter_s", null),
                  new Figure("set_adapter s", "/set_adapter/median_s", null),
                  new Figure("merge_and_unload s", "/merge_and_unload_s", null))),
          Map.entry(
              "growth_adapters",
              List.of(
                  new Figure("load 64 s", "/points/3/load_total_s", "/points/3/hwm_mb"),
                  new Figure("forward with 64 s", "/points/3/forward_32_tokens/median_s", null),
                  new Figure("set_adapter of 64 s", "/points/3/set_adapter_s", null))),
          Map.entry("start", List.of(new Figure("s", "/total/median_s", null))),
          Map.entry("switch", SWITCHING),
          Map.entry("switch_model", SWITCHING),
          Map.entry("init", List.of(new Figure("s", "/time/min_s", "/hwm_mb"))),
          Map.entry("combine", combining()),
          Map.entry(
              "leak",
              List.of(new Figure("MB after 300 steps", "/rss_mb_by_step/5/rss_mb", "/peak_mb"))));

  private static List<Figure> combining() {
    return Arrays.stream(CombinationType.values())
        .map(type -> new Figure(type.word() + " s", "/add_weighted_adapter/" + type.word(), null))
        .toList();
  }

  private final Map<String, Results> byJob = new LinkedHashMap<>();

  private record Results(ObjectNode job, List<JsonNode> ours, List<JsonNode> reference) {}

  /** Adds a result of ours. */
  void ours(ObjectNode job, JsonNode result) {
    of(job).ours().add(result);
  }

  /** Adds a result of the reference to the job of ours that it answers to. */
  void reference(ObjectNode job, JsonNode result) {
    of(job).reference().add(result);
  }

  private Results of(ObjectNode job) {
    return byJob.computeIfAbsent(
        job.toString(), _ -> new Results(job, new ArrayList<>(), new ArrayList<>()));
  }

  /** A row for each figure. */
  List<ObjectNode> rows() {
    var rows = new ArrayList<ObjectNode>();
    for (Results results : byJob.values()) {
      for (Figure figure : figures(results.job())) {
        ObjectNode row = Output.row().put("work", work(results.job()) + ", " + figure.name());
        pair(
            row,
            results,
            figure.pointer(),
            figure.their(),
            "our_median",
            "reference_median",
            "ratio");
        if (figure.peak() != null) {
          pair(
              row,
              results,
              figure.peak(),
              figure.peak(),
              "our_peak_mb",
              "reference_peak_mb",
              "peak_ratio");
        }
        rows.add(row);
      }
    }
    return rows;
  }

  private static List<Figure> figures(ObjectNode job) {
    return FIGURES.getOrDefault(job.path("section").asString(), List.of());
  }

  private static void pair(
      ObjectNode row,
      Results results,
      String pointer,
      @Nullable String theirPointer,
      String our,
      String their,
      String ratio) {
    List<Double> ours = values(results.ours(), pointer);
    List<Double> theirs =
        theirPointer == null ? List.of() : values(results.reference(), theirPointer);
    if (!ours.isEmpty()) {
      row.put(our, Timing.median(ours));
    } else {
      row.putNull(our);
    }
    if (!theirs.isEmpty()) {
      row.put(their, Timing.median(theirs));
    } else {
      row.putNull(their);
    }
    if (ours.isEmpty() || theirs.isEmpty()) {
      row.putNull(ratio);
    } else {
      row.put(ratio, Timing.median(ours) / Timing.median(theirs));
    }
  }

  private static List<Double> values(List<JsonNode> results, String pointer) {
    return results.stream()
        .map(result -> result.at(pointer))
        .filter(JsonNode::isNumber)
        .map(JsonNode::asDouble)
        .toList();
  }

  /** A job in few words, such as {@code train lora bf16 4x256}. */
  static String work(ObjectNode job) {
    var words = new ArrayList<String>();
    for (String key : List.of("section", "method", "kind", "dtype")) {
      if (job.has(key)) {
        words.add(job.path(key).asString());
      }
    }
    if (job.has("size")) {
      words.add(job.path("size").asString() + "x" + job.path("size").asString());
    }
    if (job.has("seq")) {
      words.add(job.path("batch").asInt() + "x" + job.path("seq").asInt());
    } else if (job.has("batch")) {
      words.add(job.path("batch").asInt() + " rows");
    }
    return String.join(" ", words);
  }
}
