package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.TensorFile;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Commands on a tiny model whose weights are held in another form. */
class QuantizeCommandsTest {

  private static final String MODEL = "../parity/models/llama";
  private static final String ADAPTER = "../parity/cases/lora_default_llama/adapter";
  private static final String WEIGHT = "model.layers.0.self_attn.q_proj.weight";

  @TempDir Path folder;

  private String at(String name) {
    return folder.resolve(name).toString();
  }

  private String merged(String name, String... more) {
    var arguments = new ArrayList<>(List.of("merge", "-m", MODEL, "-a", ADAPTER, "-o", at(name)));
    arguments.addAll(List.of(more));
    CommandRun run = CommandRun.of(arguments.toArray(String[]::new));
    assertThat(run.exitCode()).as(run.err()).isZero();
    return run.err();
  }

  private double difference(String a, String b) {
    try (var _ = Scope.open();
        var first = TensorFile.open(folder.resolve(a));
        var second = TensorFile.open(folder.resolve(b))) {
      Tensor one = first.tensor(WEIGHT).to(ScalarType.Float);
      return one.sub(second.tensor(WEIGHT).to(ScalarType.Float)).abs().max().item_double();
    }
  }

  @Test
  void a_merge_into_decoded_weights_is_not_rounded_to_their_form_again() {
    merged("plain");

    String rounded = merged("rounded", "--quantize", "int8");
    String exact = merged("exact", "--quantize", "int8", "--dequantize");

    assertThat(rounded).contains("rounded to their form");
    assertThat(exact).doesNotContain("rounded to their form");
    assertThat(difference("exact", "plain")).isBetween(1e-5, 0.05);
    assertThat(difference("exact", "rounded")).isBetween(1e-6, 0.05);
  }

  @Test
  void a_recipe_for_a_quantised_base_tells_what_the_codes_take() throws IOException {
    Path recipe =
        Files.writeString(
            folder.resolve("recipe.yaml"),
            """
            model: ../parity/models/llama
            quantize: nf4
            adapter: {peft_type: LORA, r: 4, target_modules: all-linear}
            data: {train: rows.jsonl}
            output: runs/test
            """);

    CommandRun run = CommandRun.of("inspect", "--recipe", recipe.toString());
    CommandRun plain =
        CommandRun.of("inspect", "--recipe", recipe.toString(), "--set", "quantize=none");

    assertThat(run.out()).contains("quantized weights: nf4, ");
    assertThat(plain.out()).doesNotContain("quantized weights");
    assertThat(trainable(run.out())).isEqualTo(trainable(plain.out()));
  }

  private static String trainable(String out) {
    return out.lines().filter(line -> line.startsWith("trainable params")).findFirst().orElse("");
  }

  @Test
  void blocks_are_kept_of_gguf_files_alone() {
    CommandRun run =
        CommandRun.of("merge", "-m", MODEL, "-a", ADAPTER, "-o", at("kept"), "--quantize", "keep");

    assertThat(run.exitCode()).isNotZero();
    assertThat(run.err()).contains("quantize is keep").contains("is a folder of plain weights");
    assertThat(folder.resolve("kept")).doesNotExist();
  }

  @Test
  void an_unknown_form_is_refused_with_those_that_are_known() {
    CommandRun run =
        CommandRun.of("merge", "-m", MODEL, "-a", ADAPTER, "-o", at("x"), "--quantize", "fp8");

    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("fp8").contains("none, nf4, fp4, int8, int4, keep");
  }
}
