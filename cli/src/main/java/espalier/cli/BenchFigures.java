package espalier.cli;

import espalier.adapters.combine.CombinationType;
import java.util.ArrayList;
import java.util.List;

/** What the table shows of each section's results. */
final class BenchFigures {

  /** How many adapters the measurement of growth stops at, in the order of its points. */
  private static final int[] COUNTS = {1, 4, 16, 64};

  private static final int LOOKS = 6; // at memory, one in 50 steps

  private BenchFigures() {}

  /** The figures of a section, in the order of their rows. */
  static List<BenchFigure> of(String section) {
    return switch (section) {
      case "train" -> List.of(BenchFigure.of("s/step", "/step/median_s").withPeak("/peak_mb"));
      case "packed" ->
          List.of(BenchFigure.of("tokens/s", "/real_tokens_per_s").withPeak("/peak_mb"));
      case "generate" ->
          List.of(
              BenchFigure.of("decode tokens/s", "/decode_tokens_per_s").withPeak("/peak_mb"),
              BenchFigure.of("first token s", "/first_token/median_s"));
      case "ops" ->
          List.of(
              BenchFigure.of("load_model s", "/load_model/median_s").withPeak("/hwm_mb"),
              BenchFigure.of("get_peft_model s", "/get_peft_model/median_s"),
              BenchFigure.of("save_adapter s", "/save_adapter/median_s"),
              BenchFigure.of("load_adapter_on_base s", "/load_adapter_on_base/median_s"),
              BenchFigure.of("merge_adapter s", "/merge_adapter/median_s"),
              BenchFigure.of("unmerge_adapter s", "/unmerge_adapter/median_s"),
              BenchFigure.of("load_second_adapter s", "/load_second_adapter_s"),
              BenchFigure.of("set_adapter s", "/set_adapter/median_s"),
              BenchFigure.of("merge_and_unload s", "/merge_and_unload_s"));
      case "growth_adapters" -> growth();
      case "start" -> List.of(BenchFigure.of("s", "/total/median_s"));
      case "switch" -> switching();
      case "switch_model" -> withPeak(switching());
      case "init" -> List.of(BenchFigure.of("s", "/time/min_s").withPeak("/hwm_mb"));
      case "combine" -> combining();
      case "experts" ->
          List.of(
              BenchFigure.of("the routed experts alone s", "/routed_only/min_s"),
              BenchFigure.of("every expert's change first s", "/every_delta/min_s"),
              BenchFigure.of("times faster", "/times_faster"));
      case "leak" -> leak();
      default ->
          throw new IllegalArgumentException(
              "the table has no figures for the section %s; add them beside its measurement"
                  .formatted(section));
    };
  }

  private static List<BenchFigure> growth() {
    var figures = new ArrayList<BenchFigure>();
    for (int i = 0; i < COUNTS.length; i++) {
      String point = "/points/" + i;
      figures.add(
          BenchFigure.of("load %d s".formatted(COUNTS[i]), point + "/load_total_s")
              .withPeak(point + "/hwm_mb"));
      figures.add(
          BenchFigure.of(
              "forward with %d s".formatted(COUNTS[i]), point + "/forward_32_tokens/median_s"));
      figures.add(
          BenchFigure.of("set_adapter of %d s".formatted(COUNTS[i]), point + "/set_adapter_s"));
    }
    return figures;
  }

  private static List<BenchFigure> switching() {
    String ours = "/shira_r16/switch/min_s";
    return List.of(
        exchange("SHiRA r 16 switch s", "shira_r16/switch"),
        exchange("SHiRA r 32 switch s", "shira_r32/switch"),
        exchange("LoRA r 16 merge s", "lora_r16/merge"),
        BenchFigure.beside(
            "our SHiRA r 16 switch beside their LoRA r 16 merge s",
            ours,
            "/peft_lora_r16/merge/min_s"),
        BenchFigure.of(
                "SHiRA r 16 switches in the time of a LoRA r 16 merge of the same side",
                "/shira_r16/lora_merges")
            .withTheirs(
                BenchFigure.quotient(
                    "/peft_lora_r16/merge/min_s", "/peft_shira_r16/switch/min_s")));
  }

  private static BenchFigure exchange(String name, String what) {
    return BenchFigure.beside(name, "/" + what + "/min_s", "/peft_" + what + "/min_s");
  }

  private static List<BenchFigure> combining() {
    var figures = new ArrayList<BenchFigure>();
    for (CombinationType type : CombinationType.values()) {
      figures.add(BenchFigure.of(type.word() + " s", "/add_weighted_adapter/" + type.word()));
    }
    return withPeak(figures);
  }

  /** The memory of the whole measurement stands in its first row. */
  private static List<BenchFigure> withPeak(List<BenchFigure> figures) {
    var all = new ArrayList<>(figures);
    all.set(0, all.getFirst().withPeak("/hwm_mb"));
    return all;
  }

  private static List<BenchFigure> leak() {
    return List.of(
        BenchFigure.of("MB after 50 steps", "/rss_mb_by_step/0/rss_mb"),
        BenchFigure.of("MB after 300 steps", "/rss_mb_by_step/%d/rss_mb".formatted(LOOKS - 1))
            .withPeak("/peak_mb"));
  }
}
