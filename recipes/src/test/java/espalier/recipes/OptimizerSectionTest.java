package espalier.recipes;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.training.AdamRates;
import espalier.training.LoraFa;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class OptimizerSectionTest {

  private static OptimizerSection read(String optimizer) {
    String recipe =
        """
        model: m
        adapter: {peft_type: LORA}
        data: {train: rows.jsonl}
        output: out
        training: {optimizer: %s}
        """
            .formatted(optimizer);
    return RecipeFile.parse(recipe, List.of()).training().optimizer();
  }

  @ParameterizedTest
  @EnumSource(OptimizerType.class)
  void a_name_alone_is_enough(OptimizerType type) {
    assertThat(read(type.key())).isEqualTo(OptimizerSection.of(type));
    assertThat(read(type.key().replace('-', '_'))).isEqualTo(OptimizerSection.of(type));
    assertThat(read("{type: %s}".formatted(type.key()))).isEqualTo(OptimizerSection.of(type));
  }

  @Test
  void without_one_it_is_adamw() {
    String recipe =
        "{model: m, adapter: {peft_type: LORA}, data: {train: rows.jsonl}, output: out}";

    assertThat(RecipeFile.parse(recipe, List.of()).training().optimizer())
        .isEqualTo(OptimizerSection.of(OptimizerType.ADAMW));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "{type: lora-plus, optimizer_class: sgd, momentum: 0.5, loraplus_lr_ratio: 8,"
            + " loraplus_lr_embedding: 0.001, loraplus_weight_decay: 0.1}",
        "{type: lora-fa, betas: [0.8, 0.9], eps: 0.001, bias_correction: false}",
        "{type: lora-fa, r: 4, lora_alpha: 8, use_rslora: false}",
        "{type: riemannian, reg: 0.5, optimizer_class: adamw8bit, eps: 0.1}"
      })
  void settings_are_read_and_written_alike(String settings) {
    OptimizerSection section = read(settings);

    assertThat(read(section.json().toString())).isEqualTo(section);
    assertThat(section).isNotEqualTo(OptimizerSection.of(section.type()));
  }

  @Test
  void each_has_its_own_defaults() {
    assertThat(read("lora-fa").rates()).isEqualTo(LoraFa.RATES);
    assertThat(read("adamw").rates()).isEqualTo(AdamRates.USUAL);
    assertThat(read("riemannian").regOrUsual()).isEqualTo(0.01);
    assertThat(read("lora-plus").loraPlus(1e-3).embeddingRate()).isEqualTo(1e-6);
    assertThat(read("lora-plus").loraPlus(1e-3).weightDecay()).isZero();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "lbfgs | training.optimizer is \"lbfgs\"",
        "{type: lbfgs} | training.optimizer.type is \"lbfgs\"",
        "{type: riemannian, optimizer_class: lbfgs} | optimizer_class is \"lbfgs\"",
        "{reg: 0.1} | type",
        "{type: lora-plus, ratio: 8} | training.optimizer.ratio is not a key of a recipe",
        "{type: adamw, reg: 0.1} | has reg, which adamw does not read",
        "{type: adamw, r: 4} | has r, which adamw does not read",
        "{type: riemannian, lora_alpha: 4} | has lora_alpha, which riemannian over adamw",
        "{type: lora-fa, optimizer_class: sgd} | has optimizer_class, which lora-fa",
        "{type: lora-plus, optimizer_class: riemannian} | must be one of",
        "{type: adamw, betas: [0.9]} | has 1 numbers but must have two",
        "{type: sgd, betas: [0.9, 0.99]} | has betas, which sgd does not read",
      })
  void what_can_not_be_is_refused_by_name(String settings, String message) {
    assertThatThrownBy(() -> read(settings))
        .isInstanceOf(RecipeException.class)
        .hasMessageContaining(message);
  }
}
