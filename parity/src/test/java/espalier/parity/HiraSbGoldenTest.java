package espalier.parity;

import static org.assertj.core.api.Assertions.assertThat;

import espalier.adapters.hirasb.Bases;
import espalier.adapters.hirasb.Gram;
import espalier.adapters.hirasb.Weighting;
import espalier.checkpoints.SafetensorsFile;
import espalier.nn.Init;
import espalier.nn.Scope;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.Objects;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * The bases of HiRA-SB and what steps in them do, against numbers in float64 that were made apart
 * from this code. Another folder of them: {@code -Dhirasb.golden=DIR}.
 */
class HiraSbGoldenTest {

  private static final String NAME = "hira-sb-golden";

  private static Path folder() throws URISyntaxException {
    String given = System.getProperty("hirasb.golden");
    return given != null
        ? Path.of(given)
        : Path.of(
            Objects.requireNonNull(HiraSbGoldenTest.class.getResource("/espalier/parity/hirasb/"))
                .toURI());
  }

  @ParameterizedTest
  @CsvSource({
    "sign, Double, 1e-6",
    "gradient, Double, 1e-6",
    "tiny_weights, Double, 1e-6",
    "rank_one_weights, Double, 1e-6",
    "rank_1, Double, 1e-6",
    "sign, Float, 2e-3",
    "gradient, Float, 2e-3",
    "tiny_weights, Float, 2e-3",
    "rank_one_weights, Float, 2e-3",
    "rank_1, Float, 2e-3"
  })
  void bases_and_steps_are_those_of_the_golden_file(String name, ScalarType dtype, double bound)
      throws URISyntaxException {
    JsonNode facts =
        new JsonMapper().readTree(folder().resolve(NAME + ".json").toFile()).get("cases").get(name);
    int r = facts.get("r").intValue();
    double eta = facts.get("eta").doubleValue();
    try (var _ = Scope.open();
        var file = SafetensorsFile.open(folder().resolve(NAME + ".safetensors"))) {
      Tensor w = file.tensor(name + ".W0").to(dtype);
      Tensor g = file.tensor(name + ".G").to(dtype);
      Tensor d = facts.get("target").stringValue().equals("sign") ? g.sign() : g;
      var weighting = Weighting.of(w);
      for (int sweeps : new int[] {0, 1, 2, 8}) {
        String key = name + ".als" + sweeps + ".";

        Bases bases = Bases.of(weighting, d, r, sweeps, Init.shared(1));
        var gram = Gram.of(w, bases, 0);
        Tensor best = gram.solve(bases.gradient(w, d));

        near(file, key + "projection", bases.update(w, best), bound);
        near(file, key + "plain_step", bases.update(w, bases.gradient(w, d)), bound);
        near(file, key + "col_projector", projector(bases.b()), bound);
        near(file, key + "row_projector", projector(bases.a().t()), bound);
        if (sweeps == 2) {
          Tensor matched = bases.b().mm(best).mm(bases.a()).mul(new Scalar(-eta));
          near(file, key + "BRA_matched", matched, bound);
          near(file, key + "W_matched", w.add(w.mul(matched)), bound);
          near(file, key + "W_after_5_plain", descent(file, name, w, bases, null), bound);
          near(file, key + "W_after_5_preconditioned", descent(file, name, w, bases, gram), bound);
        }
      }
    }
  }

  private static Tensor projector(Tensor columns) {
    Tensor q = torch.linalg_qr(columns).get0();
    return q.mm(q.t());
  }

  /** Five steps of gradient descent on ½‖xWᵀ - t‖²/6 from R = 0. */
  private static Tensor descent(
      SafetensorsFile file, String name, Tensor w, Bases bases, @Nullable Gram gram) {
    ScalarType dtype = w.scalar_type().intern();
    Tensor x = file.tensor(name + ".x").to(dtype);
    Tensor t = file.tensor(name + ".t").to(dtype);
    Tensor now = w;
    for (int i = 0; i < 5; i++) {
      Tensor full = x.mm(now.t()).sub(t).t().mm(x).div(new Scalar(6));
      Tensor gradient = bases.gradient(w, full);
      Tensor step = gram == null ? gradient : gram.solve(gradient);
      now = now.sub(bases.update(w, step), new Scalar(0.05));
    }
    return now;
  }

  private static void near(SafetensorsFile file, String key, Tensor got, double bound) {
    Tensor expected = file.tensor(key);
    double error =
        got.to(ScalarType.Double).sub(expected).norm().div(expected.norm()).item_double();
    assertThat(error).as(key).isLessThan(bound);
  }
}
