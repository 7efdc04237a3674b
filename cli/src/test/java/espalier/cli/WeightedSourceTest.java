package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.checkpoints.AdapterSource;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import picocli.CommandLine.TypeConversionException;

class WeightedSourceTest {

  private static AdapterSource folder(String path) {
    return new AdapterSource.Folder(Path.of(path));
  }

  @Test
  void a_name_a_folder_and_a_weight_are_told_apart() {
    assertThat(WeightedSource.parse("law=runs/law:-0.7"))
        .isEqualTo(new WeightedSource("law", folder("runs/law"), -0.7));
    assertThat(WeightedSource.parse("law=runs/law:1e-3").weight()).isEqualTo(1e-3);
  }

  @Test
  void without_a_weight_it_is_1_and_without_a_name_the_folder_is_one() {
    assertThat(WeightedSource.parse("runs/law"))
        .isEqualTo(new WeightedSource("law", folder("runs/law"), 1));
  }

  @Test
  void a_colon_in_the_folder_is_part_of_it_unless_a_number_follows() {
    assertThat(WeightedSource.parse("law=c:runs").source()).isEqualTo(folder("c:runs"));
    assertThat(WeightedSource.parse("law=c:runs:2"))
        .isEqualTo(new WeightedSource("law", folder("c:runs"), 2));
  }

  @Test
  void a_name_without_a_folder_is_refused() {
    assertThatThrownBy(() -> WeightedSource.parse("law=:0.5"))
        .isInstanceOf(TypeConversionException.class)
        .hasMessageStartingWith("'law=:0.5' does not name an adapter");
  }

  @Test
  void one_of_the_hub_is_called_as_its_folder_and_may_have_a_weight() {
    var french = new AdapterSource.Hub("org/adapters", "a/french", "v1");

    assertThat(WeightedSource.parse("hub:org/adapters/a/french@v1"))
        .isEqualTo(new WeightedSource("french", french, 1));
    assertThat(WeightedSource.parse("f=hub:org/adapters/a/french@v1:0.5"))
        .isEqualTo(new WeightedSource("f", french, 0.5));
  }
}
