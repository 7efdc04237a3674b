package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.SafetensorsFile;
import espalier.checkpoints.SafetensorsWriter;
import espalier.checkpoints.gguf.GgufFile;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Commands that make adapters out of adapters, on those that the reference library made. */
class AdapterCommandsTest {

  private static final String MODEL = "../parity/models/llama";
  private static final String LORA = "../parity/cases/lora_default_llama/adapter";
  private static final String GRALORA = "../parity/cases/convert_gralora_to_lora_llama/adapter";

  @TempDir Path folder;

  private String at(String name) {
    return folder.resolve(name).toString();
  }

  private static CommandRun done(String... arguments) {
    CommandRun run = CommandRun.of(arguments);
    assertThat(run.err()).doesNotContain("error:");
    assertThat(run.exitCode()).isZero();
    return run;
  }

  private static void refused(String message, String... arguments) {
    CommandRun run = CommandRun.of(arguments);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.out()).isEmpty();
    assertThat(run.err()).contains("error: ", message);
  }

  private int asked;

  private Tensor logits(String adapter) {
    Path in = folder.resolve("inputs.safetensors");
    Path out = folder.resolve("logits-%d.safetensors".formatted(++asked)); // never written over
    Tensor ids = torch.arange(new Scalar(8L)).view(2, 4);
    SafetensorsWriter.write(in, Map.of("input_ids", ids.to(ScalarType.Long)));
    done("logits", "-m", MODEL, "-a", adapter, "-i", in.toString(), "-o", out.toString());
    try (var file = SafetensorsFile.open(out)) {
      return file.tensor("logits").clone();
    }
  }

  private double difference(String one, String other) {
    try (var _ = Scope.open()) {
      return logits(one).sub(logits(other)).abs().max().item_double();
    }
  }

  private CommandRun combined(String out, String... more) {
    var arguments = new ArrayList<>(List.of("combine", "--out", at(out)));
    arguments.addAll(List.of("-a", "a=" + LORA + ":0.25", "-a", "b=" + LORA + ":0.75"));
    arguments.addAll(Arrays.asList(more));
    return done(arguments.toArray(String[]::new));
  }

  @Test
  void halves_of_an_adapter_are_the_adapter_with_and_without_the_model() {
    CommandRun run = combined("cat", "--type", "cat");
    combined("svd", "--model", MODEL);

    assertThat(run.out())
        .contains("type cat, rank 8", "relative error against the exact sum: ", "adapter: ");
    // float32: outputs reach 20
    assertThat(difference(at("cat"), LORA)).isLessThan(5e-5);
    assertThat(difference(at("svd"), LORA)).isLessThan(5e-4);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "linear",
        "ties",
        "ties_svd",
        "dare_linear",
        "dare_linear_svd",
        "dare_ties",
        "dare_ties_svd",
        "magnitude_prune",
        "magnitude_prune_svd"
      })
  void every_type_tells_its_distance_from_the_sum(String type) {
    String[] density = type.equals("linear") ? new String[0] : new String[] {"--density", "0.5"};
    var more = new ArrayList<>(List.of("--type", type, "--json"));
    more.addAll(Arrays.asList(density));

    CommandRun run = combined(type, more.toArray(String[]::new));

    assertThat(run.out().lines().toList().getFirst()).startsWith("{\"layer\":");
    assertThat(run.out().lines().toList().getLast())
        .startsWith("{\"type\":\"%s\",\"r\":4,\"largest_relative_error\":".formatted(type));
    assertThat(folder.resolve(type).resolve("adapter_config.json")).isNotEmptyFile();
  }

  @Test
  void wrong_combinations_are_refused_before_anything_is_written() {
    refused("combination_type is sum but", "combine", "-a", LORA, "-t", "sum", "-o", at("x"));
    refused("two adapters are called adapter", "combine", "-a", LORA, "-a", GRALORA, "-o", at("x"));
    refused(
        "ties needs density",
        "combine",
        "-a",
        "a=" + LORA,
        "-a",
        "b=" + LORA,
        "-t",
        "ties",
        "-o",
        at("x"));
    refused(
        "only LORA can be combined; convert it to LoRA first",
        "combine",
        "-a",
        GRALORA,
        "-o",
        at("x"));
    assertThat(folder.resolve("x")).doesNotExist();
  }

  @Test
  void a_gralora_adapter_becomes_lora_that_answers_alike() {
    CommandRun run =
        done("convert", GRALORA, "--model", MODEL, "--rank", "32", "--out", at("r"), "--json");
    done("convert", GRALORA, "--model", MODEL, "--threshold", "0.5", "--out", at("t"));

    assertThat(run.out()).startsWith("{\"layer\":").contains("\"rank\":32,\"relative_error\":");
    assertThat(difference(at("r"), GRALORA)).isLessThan(5e-4);
    assertThat(difference(at("t"), GRALORA)).isGreaterThan(1e-2);
  }

  @Test
  void a_lora_adapter_becomes_the_file_that_llama_cpp_loads() throws IOException {
    String out = at("adapter.gguf");
    done("convert", LORA, "-m", MODEL, "--to", "gguf-adapter", "-o", out, "--dtype", "f16");

    try (GgufFile file = GgufFile.open(Path.of(out))) {
      assertThat(file.metadata().values()).containsEntry("general.type", "adapter");
      assertThat(file.tensors()).allMatch(tensor -> tensor.format().name().equals("F16"));
    }
    byte[] before = Files.readAllBytes(Path.of(out));
    refused("is there already", "convert", LORA, "-m", MODEL, "--to", "gguf-adapter", "-o", out);
    assertThat(Files.readAllBytes(Path.of(out))).isEqualTo(before);
  }

  @Test
  void wrong_conversions_are_refused() {
    refused("add --model", "convert", LORA, "--rank", "4", "-o", at("x"));
    refused("say how with one of", "convert", LORA, "-m", MODEL, "-o", at("x"));
    refused(
        "--initial goes alone, and keeps the adapter's dtypes; leave out --dtype",
        "convert",
        LORA,
        "--initial",
        LORA,
        "--dtype",
        "f32",
        "-o",
        at("x"));
    refused(
        "say how with one of",
        "convert",
        LORA,
        "-m",
        MODEL,
        "--rank",
        "4",
        "--threshold",
        "0.5",
        "-o",
        at("x"));
    refused(
        "--to is onnx but only gguf-adapter is known",
        "convert",
        LORA,
        "-m",
        MODEL,
        "--to",
        "onnx",
        "-o",
        at("x"));
    refused("rank is 4000 but", "convert", LORA, "-m", MODEL, "--rank", "4000", "-o", at("x"));
    refused(
        "default is GRALORA and no LoRA",
        "convert",
        GRALORA,
        "-m",
        MODEL,
        "--to",
        "gguf-adapter",
        "-o",
        at("x"));
    assertThat(folder.resolve("x")).doesNotExist();
  }

  @Test
  void an_adapter_without_intruders_stays_as_it_is_and_one_with_some_changes() {
    done("intruders", "-m", MODEL, "-a", LORA, "--epsilon", "0", "-o", at("same"));
    CommandRun run =
        done(
            "intruders",
            "-m",
            MODEL,
            "-a",
            LORA,
            "--epsilon",
            "0.9",
            "--lambda",
            "0.9",
            "--lambda-means",
            "removed",
            "-o",
            at("less"),
            "--json");

    assertThat(run.out()).startsWith("{\"layer\":").contains("\"intruders\":");
    assertThat(difference(at("same"), LORA)).isZero();
    assertThat(difference(at("less"), LORA)).isGreaterThan(1e-3);
  }
}
