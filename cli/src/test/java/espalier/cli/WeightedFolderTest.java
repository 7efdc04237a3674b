package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import picocli.CommandLine.TypeConversionException;

class WeightedFolderTest {

  @Test
  void a_name_a_folder_and_a_weight_are_told_apart() {
    assertThat(WeightedFolder.parse("law=runs/law:-0.7"))
        .isEqualTo(new WeightedFolder("law", Path.of("runs/law"), -0.7));
    assertThat(WeightedFolder.parse("law=runs/law:1e-3").weight()).isEqualTo(1e-3);
  }

  @Test
  void without_a_weight_it_is_1_and_without_a_name_the_folder_is_one() {
    assertThat(WeightedFolder.parse("runs/law"))
        .isEqualTo(new WeightedFolder("law", Path.of("runs/law"), 1));
  }

  @Test
  void a_colon_in_the_folder_is_part_of_it_unless_a_number_follows() {
    assertThat(WeightedFolder.parse("law=c:runs").folder()).isEqualTo(Path.of("c:runs"));
    assertThat(WeightedFolder.parse("law=c:runs:2"))
        .isEqualTo(new WeightedFolder("law", Path.of("c:runs"), 2));
  }

  @Test
  void a_name_without_a_folder_is_refused() {
    assertThatThrownBy(() -> WeightedFolder.parse("law=:0.5"))
        .isInstanceOf(TypeConversionException.class)
        .hasMessageStartingWith("'law=:0.5' does not name an adapter");
  }
}
