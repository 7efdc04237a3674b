package espalier.cli;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import tools.jackson.databind.node.ObjectNode;

/**
 * Which measurements are wanted.
 *
 * @param sections names out of {@link #SECTIONS}
 * @param methods such as {@code lora}
 * @param dtypes {@code bf16} and {@code f32}, and forms of a quantised base, such as {@code nf4}
 * @param shapes batch and length of the training steps, such as {@code 4x256}
 * @param reps repetitions within a measurement
 */
record BenchPlan(
    List<String> sections,
    List<String> methods,
    List<String> dtypes,
    List<String> shapes,
    int reps) {

  static final List<String> SECTIONS =
      List.of(
          "train",
          "checkpointing",
          "ops",
          "combine",
          "switch",
          "init",
          "generate",
          "growth",
          "packed",
          "start",
          "leak",
          "experts");

  /** Sections that a base in codes can be measured in. */
  private static final List<String> ON_CODES =
      List.of("train", "checkpointing", "generate", "packed", "leak");

  /** The starts, and whether one repetition must do. */
  private static final Map<String, Boolean> STARTS = new LinkedHashMap<>();

  static {
    STARTS.put("default", false);
    STARTS.put("orthogonal", false);
    STARTS.put("olora", false);
    STARTS.put("pissa_niter_4", false);
    STARTS.put("pissa", true);
    STARTS.put("corda", true);
    STARTS.put("eva", true);
  }

  private static final int[] WIDTHS = {576, 2048, 4096};

  private static final Pattern SHAPE = Pattern.compile("([1-9]\\d{0,5})x([1-9]\\d{0,5})");
  private static final int NEW_TOKENS = 64;
  private static final int PACKED_STEPS = 10;
  private static final int PACKED_EXAMPLES = 8;
  private static final int EXAMPLE_TOKENS = 96;
  private static final int[] ROUTED = {2, 8, 32}; // experts of 32
  private static final int ROUTED_TOKENS = 64;

  BenchPlan {
    for (String section : sections) {
      known("section", section, SECTIONS);
    }
    for (String method : methods) {
      known("method", method, BenchMethods.names());
    }
    for (String dtype : dtypes) {
      if (!BenchInputs.QUANTISED.contains(dtype)) {
        known("dtype", dtype, List.of("f32", "bf16", "nf4", "fp4", "int8"));
      } else if (!ON_CODES.containsAll(sections)) {
        throw new IllegalArgumentException(
            "--sections is %s but a base in %s is measured in %s; name those, or bf16 and f32"
                .formatted(String.join(",", sections), dtype, String.join(", ", ON_CODES)));
      }
    }
    for (String shape : shapes) {
      if (!SHAPE.matcher(shape).matches()) {
        throw new IllegalArgumentException(
            "the shape %s is not batch x length; write 4x256".formatted(shape));
      }
    }
    if (reps < 1) {
      throw new IllegalArgumentException("--reps is %d but must be 1 or more".formatted(reps));
    }
  }

  private static void known(String what, String name, List<String> known) {
    if (!known.contains(name)) {
      throw new IllegalArgumentException(
          "the %s %s is not known; known are %s".formatted(what, name, String.join(", ", known)));
    }
  }

  /** The measurements in order, as a worker takes them. */
  List<ObjectNode> jobs() {
    var jobs = new ArrayList<ObjectNode>();
    for (String section : sections) {
      for (String dtype : dtypes) {
        switch (section) {
          case "train" -> methods.forEach(method -> train(jobs, dtype, method));
          case "checkpointing" ->
              methods.stream()
                  .filter(BenchMethods::isAdapter)
                  .map(BenchMethods::checkpointing)
                  .distinct()
                  .forEach(method -> train(jobs, dtype, method));
          case "ops" -> {
            for (String method : methods) {
              if (BenchMethods.isAdapter(method) && !BenchMethods.isCheckpointing(method)) {
                jobs.add(job("ops", dtype).put("kind", method).put("reps", reps));
              }
            }
          }
          case "generate" -> {
            generate(jobs, dtype, "lora", 1);
            generate(jobs, dtype, "lora", 8);
            generate(jobs, dtype, "mixed", 8);
          }
          case "growth" -> jobs.add(job("growth_adapters", dtype).put("low_cpu_mem_usage", true));
          case "packed" ->
              jobs.add(
                  job("packed", dtype)
                      .put("method", "lora")
                      .put("lr", 5e-4)
                      .put("seed", 0)
                      .put("steps", PACKED_STEPS)
                      .put("batch", PACKED_EXAMPLES)
                      .put("max_len", EXAMPLE_TOKENS));
          case "combine" -> jobs.add(job("combine", dtype));
          case "init" ->
              STARTS.forEach(
                  (kind, once) ->
                      jobs.add(job("init", dtype).put("kind", kind).put("reps", once ? 1 : reps)));
          case "switch" -> {
            for (int width : WIDTHS) {
              jobs.add(job("switch", dtype).put("size", width).put("reps", 5 * reps));
            }
            jobs.add(job("switch_model", dtype).put("reps", reps));
          }
          case "experts" -> {
            for (int routed : ROUTED) {
              jobs.add(
                  job("experts", dtype)
                      .put("routed", routed)
                      .put("tokens", ROUTED_TOKENS)
                      .put("reps", 5 * reps));
            }
          }
          case "start" -> jobs.add(job(section, dtype).put("reps", reps));
          default ->
              jobs.add(
                  job("leak", dtype)
                      .put("method", "lora")
                      .put("batch", 1)
                      .put("seq", 64)
                      .put("steps", 300));
        }
      }
    }
    return jobs;
  }

  private void train(List<ObjectNode> jobs, String dtype, String method) {
    for (String shape : shapes) {
      Matcher sizes = SHAPE.matcher(shape);
      if (!sizes.matches()) {
        throw new IllegalStateException(shape); // checked above
      }
      jobs.add(
          job("train", dtype)
              .put("method", method)
              .put("batch", Integer.parseInt(sizes.group(1)))
              .put("seq", Integer.parseInt(sizes.group(2)))
              .put("reps", reps)
              .put("flops", false));
    }
  }

  private void generate(List<ObjectNode> jobs, String dtype, String kind, int batch) {
    jobs.add(
        job("generate", dtype)
            .put("kind", kind)
            .put("batch", batch)
            .put("new_tokens", NEW_TOKENS)
            .put("reps", reps));
  }

  private static ObjectNode job(String section, String dtype) {
    return Output.row().put("section", section).put("dtype", dtype);
  }

  /** The measurement of the reference that answers to one of ours, or null if there is none. */
  static @Nullable ObjectNode reference(ObjectNode job) {
    if (BenchInputs.QUANTISED.contains(job.path("dtype").asString())) {
      return null;
    }
    return switch (job.path("section").asString()) {
      case "leak", "experts" -> null;
      case "train" -> BenchMethods.isInReference(job.path("method").asString()) ? job : null;
      case "ops" -> BenchMethods.isInReference(job.path("kind").asString()) ? job : null;
      case "packed" -> job.deepCopy().put("section", "quality");
      default -> job;
    };
  }
}
