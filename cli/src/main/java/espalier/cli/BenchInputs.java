package espalier.cli;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.recipes.BaseDtype;
import espalier.recipes.Quantize;
import espalier.text.Example;
import espalier.text.Message;
import espalier.text.Tokenizer;
import espalier.training.Batch;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import tools.jackson.databind.json.JsonMapper;

/**
 * What is measured on.
 *
 * @param f32 a model's folder in float32
 * @param bf16 the same model in bfloat16
 * @param data a folder with {@code wordnet-define.train.jsonl} and {@code .eval.jsonl}
 * @param threads of libtorch
 */
record BenchInputs(Path f32, Path bf16, Path data, int threads) {

  /** Forms of a base that the bfloat16 model is brought into as it is loaded. */
  static final List<String> QUANTISED = List.of("nf4", "fp4", "int8");

  PretrainedModel load(String dtype) {
    return QUANTISED.contains(dtype)
        ? PretrainedModel.load(
            folder(dtype).toString(),
            BaseDtype.BF16.type(),
            Quantize.of(dtype).quantisation(),
            _ -> {})
        : PretrainedModel.load(folder(dtype), BaseDtype.of(dtype).type());
  }

  Path folder(String dtype) {
    return dtype.equals("f32") ? f32 : bf16;
  }

  Path file(String part) {
    return data.resolve("wordnet-define.%s.jsonl".formatted(part));
  }

  /** The conversations of a part of the data. */
  List<List<Message>> rows(String part) {
    try {
      return Files.readAllLines(file(part)).stream()
          .filter(line -> !line.isBlank())
          .map(
              line ->
                  Message.listFrom(JsonMapper.shared().readValue(line, Map.class).get("messages")))
          .toList();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Real text without padding: conversations one after the other, cut into rows of one length. */
  Batch block(Tokenizer tokenizer, int rows, int length) {
    var template = tokenizer.chatTemplate().orElseThrow();
    var stream = IntStream.builder();
    int count = 0;
    for (List<Message> messages : rows("train")) {
      if (count >= rows * length) {
        break;
      }
      int[] ids =
          tokenizer.encode(
              template
                  .render(messages.stream().map(Message::asMap).toList(), false, Map.of())
                  .text(),
              false);
      Arrays.stream(ids).forEach(stream::add);
      count += ids.length;
    }
    if (count < rows * length) {
      throw new IllegalArgumentException(
          "%s has %d tokens but %dx%d needs more; take a smaller --shape"
              .formatted(file("train"), count, rows, length));
    }
    int[] all = stream.build().toArray();
    var examples = new ArrayList<Example>();
    for (int row = 0; row < rows; row++) {
      int[] ids = Arrays.copyOfRange(all, row * length, (row + 1) * length);
      examples.add(new Example(ids, ids));
    }
    return Batch.padded(examples, 0);
  }
}
