package espalier.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.checkpoints.AdapterSource;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import picocli.CommandLine.TypeConversionException;

class NamedAdapterTest {

  private static AdapterSource folder(String path) {
    return new AdapterSource.Folder(Path.of(path));
  }

  @Test
  void a_folder_alone_is_called_default() {
    assertThat(NamedAdapter.parse("runs/poems"))
        .isEqualTo(new NamedAdapter("default", folder("runs/poems")));
  }

  @Test
  void a_name_goes_before_the_folder() {
    assertThat(NamedAdapter.parse("poems=runs/p"))
        .isEqualTo(new NamedAdapter("poems", folder("runs/p")));
  }

  @Test
  void a_name_without_a_folder_is_refused() {
    assertThatThrownBy(() -> NamedAdapter.parse("poems="))
        .isInstanceOf(TypeConversionException.class)
        .hasMessage("'poems=' does not name an adapter; write NAME=DIR, or DIR alone");
  }
}
