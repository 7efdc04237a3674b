package espalier.serving;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.adapters.AdapterException;
import espalier.adapters.Targets;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Rows;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PretrainedGenerationTest {

  private static final Prompt A = Prompt.of(5, 20, 99, 39, 36, 100, 40);
  private static final Prompt B = Prompt.of(14, 36, 9);
  private static final Sampling GREEDY = Sampling.greedy().withMaxNewTokens(12);

  @TempDir private Path folder;
  private PretrainedModel model;

  @BeforeEach
  void load() throws IOException {
    for (String file : List.of("config.json", "model.safetensors")) {
      Files.copy(Path.of("..", "parity", "models", "llama", file), folder.resolve(file));
    }
    try (var tokenizer = TinyTokenizer.make()) {
      tokenizer.save(folder);
    }
    model = PretrainedModel.load(folder, ScalarType.Float);
    var config =
        LoraConfig.builder().targets(Targets.allLinear()).init(new LoraInit.Unset()).build();
    model.attach("french", config, 1);
    model.attach("legal", config, 2);
    model.model().train(false);
  }

  @AfterEach
  void close() {
    model.close();
  }

  @Test
  void rows_of_lora_adapters_say_what_each_adapter_says_alone() {
    Generator generator = Generator.of(model);

    List<Generation> together =
        generator.generate(
            List.of(A.with("french"), B.with("legal"), A.with(Rows.BASE), A.with("legal")), GREEDY);

    model.adapters().setActive(List.of("french"));
    assertThat(together.get(0)).isEqualTo(generator.generate(A, GREEDY));
    model.adapters().setActive(List.of("legal"));
    assertThat(together.get(1)).isEqualTo(generator.generate(B, GREEDY));
    assertThat(together.get(3)).isEqualTo(generator.generate(A, GREEDY));
    try (var _ = model.adapters().disable()) {
      assertThat(together.get(2)).isEqualTo(generator.generate(A, GREEDY));
    }
  }

  @Test
  void a_name_that_is_no_adapters_is_refused() {
    Generator generator = Generator.of(model);

    assertThatThrownBy(() -> generator.generate(A.with("frnech"), GREEDY))
        .isInstanceOf(AdapterException.class)
        .hasMessageContaining("frnech");
  }

  @Test
  void a_merged_adapter_writes_but_rows_can_not_choose_others_beside_it() {
    Generator generator = Generator.of(model);
    model.adapters().setActive(List.of("french"));
    Generation before = generator.generate(A, GREEDY);

    model.adapters().merge(false);

    assertThat(generator.generate(A, GREEDY)).isEqualTo(before);
    assertThat(generator.generate(A.with("french"), GREEDY)).isEqualTo(before);
    assertThatThrownBy(() -> generator.generate(A.with("legal"), GREEDY))
        .isInstanceOf(IllegalStateException.class)
        .hasMessageContaining("merged");
  }
}
