package espalier.cli;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;

import espalier.checkpoints.SafetensorsWriter;
import espalier.nn.Scope;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * What is wrong in a file or in an option is told by its name, with the exit code that belongs to
 * it, and nothing that lies there is changed.
 */
class HostileInputTest {

  private static final Path ADAPTER = Path.of("../parity/cases/lora_default_llama/adapter");

  @TempDir Path folder;

  @BeforeEach
  void write() throws IOException {
    Recipes recipes = Recipes.in(folder);
    recipes.write("run", "{peft_type: LORA, r: 4}");
    Files.createDirectory(folder.resolve("adapter"));
    for (String file : new String[] {"adapter_config.json", "adapter_model.safetensors"}) {
      Files.copy(ADAPTER.resolve(file), folder.resolve("adapter").resolve(file));
    }
    try (var _ = Scope.open()) {
      Tensor ids = torch.arange(new org.bytedeco.pytorch.Scalar(8L)).view(2, 4);
      tensors("ids.safetensors", ids.to(ScalarType.Long));
      tensors("fractions.safetensors", ids.to(ScalarType.Float));
    }
    lines("null.jsonl", "{\"prompt\": \"elm?\"}\n\nnull\n");
    lines("number.jsonl", "{\"prompt\": \"elm?\"}\n3\n");
    lines("half.jsonl", "{\"prompt\": \n");
    lines("long.jsonl", "\n{\"prompt\": \"elm?\"}\n{\"prompt\": \"" + "elm ".repeat(99) + "\"}\n");
    lines("none.jsonl", "");
    model("broken-tokenizer", "tokenizer.json", "{\"model\": {");
    model("broken-config", "config.json", "{\"model_type\": \"lama\"}");
    model("broken-template", "chat_template.jinja", "{% for m in messages %}");
    for (String name : new String[] {"unknown", "typed"}) {
      Files.createDirectory(folder.resolve(name));
    }
    lines("unknown/adapter_config.json", "{\"peft_type\": \"LORAX\"}");
    lines("typed/adapter_config.json", "{\"peft_type\": \"LORA\", \"r\": \"x\"}");
    Files.write(
        folder.resolve("latin.jsonl"),
        "{\"prompt\": \"elm?\"}\n{\"prompt\": \"caf\u00e9\"}\n".getBytes(ISO_8859_1));
  }

  private void model(String name, String file, String text) throws IOException {
    TinyChatModel.write(folder.resolve(name));
    lines(name + "/" + file, text);
  }

  private void tensors(String name, Tensor ids) {
    SafetensorsWriter.write(folder.resolve(name), Map.of("input_ids", ids));
  }

  private void lines(String name, String text) throws IOException {
    Files.writeString(folder.resolve(name), text);
  }

  private Map<String, Integer> contents() throws IOException {
    var contents = new TreeMap<String, Integer>();
    try (var all = Files.walk(folder)) {
      for (Path path : all.toList()) {
        contents.put(
            path.toString(),
            Files.isDirectory(path) ? 0 : Arrays.hashCode(Files.readAllBytes(path)));
      }
    }
    return contents;
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "logits -m @/model -i @/ids.safetensors -o @/model/model.safetensors|2|--out"
            + " @/model/model.safetensors is there already, and what is there is never written"
            + " over; choose another name",
        "eval -m @/model -d @/rows.jsonl --tensor-parallel 0|2|--tensor-parallel is 0 but must be 1"
            + " or more; 1 keeps the model in one process",
        "logits -m @/model -i @/ids.safetensors -o @/no/logits|1|@/no/logits could not be written:"
            + " its folder does not exist; make it first",
        "logits -m @/model -i @/fractions.safetensors -o @/logits|2|input_ids of"
            + " @/fractions.safetensors is F32 but whole numbers are read there; write it as I64",
        "inspect @/adapter -m @/model --plot @/rows.jsonl|2|--plot is @/rows.jsonl but a PNG file"
            + " is written; give it a name that ends in .png",
        "convert @/adapter -o @/out|2|@/adapter is an adapter, which is converted for its model or"
            + " to another method; add --model or --to; see espalier convert --help",
        "merge -m @/model -a @/adapter -o @/rows.jsonl/out|1|@/rows.jsonl/out can not be made:"
            + " @/rows.jsonl is a file; choose another",
        "train @/model|2|the recipe @/model is a folder; give the path of a YAML or JSON file",
        "combine -a x=@/adapter:NaN -o @/out|2|'x=@/adapter:NaN' has the weight NaN, which is no"
            + " number; write NAME=DIR:WEIGHT, such as law=runs/law:0.7",
        "combine -a x=@/adapter:abc -o @/out|2|has the weight abc, which is no number",
        "generate -m @/broken-tokenizer -p x|1|error: @/broken-tokenizer/tokenizer.json: the"
            + " tokenizer is not JSON",
        "generate -m @/broken-config -p x|1|@/broken-config: ",
        "generate -m @/broken-template -p x|1|the chat template cannot be parsed",
        "generate -m @/model -a @/typed -p x|1|@/typed/adapter_config.json: ",
        "generate -m @/model -a @/unknown -p x|1|@/unknown/adapter_config.json: peft_type is LORAX"
            + " but the catalog knows",
        "merge -m @/model -a @/unknown -o @/out|1|; nearest is LORA",
        "train @/run.yaml --set training.steps=0|2|training.steps is 0 but must be 1 or more; leave"
            + " it out to go by epochs",
        "train @/run.yaml --set training.steps=abc|2|training.steps is \"abc\" but must be a whole"
            + " number",
        "train @/run.yaml --set model=[a]|2|model is [\"a\"] but must be a text",
        "train @/run.yaml --set data.train=3|2|data.train is 3 but must be a text or a list",
        "train @/run.yaml --set training.schedule=cosinee|2|training.schedule is \"cosinee\" but"
            + " must be one of constant, linear, cosine",
        "train @/run.yaml --set training.schedule=cosinee|2|; nearest is cosine",
        "train @/run.yaml --set training.optimizer=adamx|2|nearest is adam",
        "train @/run.yaml --set output=@/rows.jsonl/run|1|@/rows.jsonl/run can not be made:"
            + " @/rows.jsonl is a file; choose another",
        "eval -m @/model -d @/none.jsonl|2|@/none.jsonl: no rows, but one or more are needed",
        "generate -m @/model --prompts @/null.jsonl|2|@/null.jsonl line 3: is null but a JSON"
            + " object is expected, such as {\"prompt\": \"Hello\"}",
        "generate -m @/model --prompts @/number.jsonl|2|@/number.jsonl line 2: is 3 but a JSON"
            + " object is expected, such as {\"prompt\": \"Hello\"}",
        "generate -m @/model --prompts @/half.jsonl|2|@/half.jsonl line 1: is not a JSON object:"
            + " Unexpected end-of-input",
        "generate -m @/model --prompts @/none.jsonl|2|@/none.jsonl has no prompts",
        "generate -m @/model --prompts @/latin.jsonl|2|@/latin.jsonl line 2 is not UTF-8; save the"
            + " file as UTF-8",
        "generate -m @/model --prompts @/model|2|--prompts @/model is a folder; give a file with"
            + " one JSON object a line",
        "generate -m @/model --no-chat --max-new-tokens 8 --prompts @/long.jsonl|2|@/long.jsonl"
            + " line 3 has 396 tokens and --max-new-tokens is 8, together 404, but llama has",
        "generate -m @/model -p elm? --max-new-tokens 9999|2|--max-new-tokens is 9999, together",
        "generate -m @/model -p elm? --top-k -1|2|--top-k is -1 but must be 0 or more; 0 turns it"
            + " off",
        "generate -m @/model -p elm? --min-p 7|2|--min-p is 7.0 but must lie in [0, 1]",
        "generate -m @/model -p elm? --max-new-tokens 0|2|--max-new-tokens is 0 but must be 1 or"
            + " more",
      })
  void is_told_by_its_name_and_changes_nothing(String command, int code, String message)
      throws IOException {
    Map<String, Integer> before = contents();

    CommandRun run = CommandRun.of(command.replace("@", folder.toString()).split(" "));

    assertThat(run.err().lines().reduce((_, line) -> line).orElse(""))
        .startsWith("error: ")
        .contains(message.replace("@", folder.toString()))
        .doesNotContain("Exception", "REDACTED", "Source:");
    assertThat(run.exitCode()).isEqualTo(code);
    assertThat(run.out()).isEmpty();
    assertThat(contents()).isEqualTo(before);
  }

  @Test
  void a_picture_that_is_there_is_not_drawn_over() throws IOException {
    Path picture = Files.writeString(folder.resolve("mine.png"), "mine");

    CommandRun run =
        CommandRun.of(
            "inspect",
            folder.resolve("adapter").toString(),
            "-m",
            folder.resolve("model").toString(),
            "--plot",
            picture.toString());

    assertThat(run.exitCode()).isEqualTo(2);
    assertThat(run.err()).contains("--plot %s is there already".formatted(picture));
    assertThat(picture).hasContent("mine");
  }

  @Test
  void prompts_that_begin_with_a_byte_order_mark_are_read() throws IOException {
    Path marked =
        Files.write(
            folder.resolve("marked.jsonl"), "\uFEFF{\"prompt\": \"elm?\"}\n".getBytes(UTF_8));

    assertThat(PromptRow.read(marked)).extracting(PromptRow::text).containsExactly("elm?");
  }
}
