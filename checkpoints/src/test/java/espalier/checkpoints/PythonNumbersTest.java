package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.json.JsonMapper;

class PythonNumbersTest {

  @ParameterizedTest
  @CsvSource({ // repr(x) of Python 3.12
    "0.0, 0.0",
    "-0.0, -0.0",
    "8.0, 8.0",
    "0.1, 0.1",
    "0.0001, 0.0001",
    "0.00001, 1e-05",
    "0.000015, 1.5e-05",
    "-2.5e-7, -2.5e-07",
    "1e-300, 1e-300",
    "123456789.0, 123456789.0",
    "1e15, 1000000000000000.0",
    "1e16, 1e+16",
    "1.25e20, 1.25e+20",
  })
  void a_fraction_is_written_as_python_does(double value, String text) {
    assertThat(PythonNumbers.text(value)).isEqualTo(text);
    assertThat(Double.parseDouble(text)).isEqualTo(value);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = "{\"a\":[1,{\"b\":1.0E-5}],\"c\":2} | {\"a\":[1,{\"b\":1e-05}],\"c\":2}")
  void they_are_found_wherever_they_stand(String json, String text) {
    var mapper = new JsonMapper();

    assertThat(PythonNumbers.in(mapper.readTree(json)).toString()).isEqualTo(text);
  }
}
