package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.SafetensorsFile;
import espalier.checkpoints.SafetensorsWriter;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Adapters of HiRA-SB and SHiRA as one. */
class CombineMethodsTest {

  private static final Path SHIRA = Path.of("../parity/cases/shira_two_adapters_llama/adapters");
  private static final String LLAMA = "../parity/models/llama";
  private static final String HIRASB =
      "{peft_type: HIRA_SB, r: 4, calibration_batches: 2, target_modules: [q_proj, v_proj]}";

  @TempDir Path folder;

  private String at(String name) {
    return folder.resolve(name).toString();
  }

  private static CommandRun done(String... arguments) {
    CommandRun run = CommandRun.of(arguments);
    assertThat(run.exitCode()).as(run.err()).isZero();
    return run;
  }

  private static void refused(String message, String... arguments) {
    CommandRun run = CommandRun.of(arguments);
    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.out()).isEmpty();
    assertThat(run.err()).contains(message);
  }

  private int asked;

  private Tensor logits(String model, String... adapter) {
    Path in = folder.resolve("inputs.safetensors");
    Path out = folder.resolve("logits-%d.safetensors".formatted(++asked)); // never written over
    Tensor ids = torch.arange(new Scalar(8L)).view(2, 4);
    SafetensorsWriter.write(in, Map.of("input_ids", ids.to(ScalarType.Long)));
    if (adapter.length == 0) {
      done("logits", "-m", model, "-i", in.toString(), "-o", out.toString());
    } else {
      done("logits", "-m", model, "-a", adapter[0], "-i", in.toString(), "-o", out.toString());
    }
    try (var file = SafetensorsFile.open(out)) {
      return file.tensor("logits").clone();
    }
  }

  private static double difference(Tensor a, Tensor b) {
    return a.sub(b).abs().max().item_double();
  }

  @Test
  void halves_of_an_adapter_of_hira_sb_are_the_adapter_in_its_bases_and_as_hira()
      throws IOException {
    Recipes recipes = Recipes.in(folder);
    done("train", recipes.write("a", HIRASB), "--quiet");
    String[] halves = {"-a", "x=" + at("a") + ":0.25", "-a", "y=" + at("a") + ":0.75"};

    CommandRun same =
        done("combine", halves[0], halves[1], halves[2], halves[3], "-o", at("same"), "--json");
    done("combine", halves[0], halves[1], halves[2], halves[3], "-t", "cat", "-o", at("cat"));

    assertThat(same.out())
        .isEqualTo("{\"peft_type\":\"HIRA_SB\",\"adapter\":\"%s\"}%n".formatted(at("same")));
    assertThat(Files.readString(folder.resolve("cat/adapter_config.json")))
        .contains("\"peft_type\": \"HIRA\"", "\"r\": 8");
    try (var _ = Scope.open()) {
      Tensor whole = logits(recipes.model(), at("a"));
      assertThat(difference(whole, logits(recipes.model()))).isGreaterThan(1e-3);
      assertThat(difference(whole, logits(recipes.model(), at("same")))).isLessThan(5e-5);
      assertThat(difference(whole, logits(recipes.model(), at("cat")))).isLessThan(5e-5);
    }
    refused("--type is svd but", "combine", "-a", at("a"), "-t", "svd", "-o", at("x"));
    refused(
        "--density is for LoRA but the adapters are of HIRA_SB",
        "combine",
        "-a",
        at("a"),
        "--density",
        "0.5",
        "-o",
        at("x"));
    assertThat(folder.resolve("x")).doesNotExist();
  }

  @Test
  void adapters_of_hira_sb_in_other_bases_become_hira() throws IOException {
    Recipes recipes = Recipes.in(folder);
    done("train", recipes.write("a", HIRASB), "--quiet");
    done("train", recipes.write("b", HIRASB.replace("r: 4", "r: 4, als_sweeps: 0")), "--quiet");

    CommandRun run = done("combine", "-a", "a=" + at("a"), "-a", "b=" + at("b"), "-o", at("both"));

    assertThat(run.out()).startsWith("the exact weighted sum, as HIRA" + System.lineSeparator());
    refused(
        "differs between the adapters",
        "combine",
        "-a",
        "a=" + at("a"),
        "-a",
        "b=" + at("b"),
        "-t",
        "linear",
        "-o",
        at("x"));
  }

  @Test
  void adapters_of_shira_are_fused_on_their_model() {
    String a = SHIRA.resolve("a").toString();
    String b = SHIRA.resolve("b").toString();

    CommandRun run =
        done("combine", "-a", "a=" + a, "-a", "b=" + b + ":0", "-m", LLAMA, "-o", at("fused"));

    assertThat(run.out()).contains("common entries", "interference", "as SHIRA");
    try (var _ = Scope.open()) {
      Tensor alone = logits(LLAMA, a);
      assertThat(difference(alone, logits(LLAMA))).isGreaterThan(1e-3);
      assertThat(difference(alone, logits(LLAMA, at("fused")))).isLessThan(5e-5);
    }
    refused("fused on their model; add --model", "combine", "-a", a, "-o", at("x"));
  }
}
