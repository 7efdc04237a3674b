package espalier.parity;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import espalier.adapters.hirasb.Bases;
import espalier.adapters.hirasb.Gram;
import espalier.adapters.hirasb.HiraSbConfig;
import espalier.adapters.hirasb.UpdateTarget;
import espalier.adapters.hirasb.Weighting;
import espalier.nn.Adapter;
import espalier.nn.Init;
import espalier.nn.Linear;
import espalier.nn.Scope;
import espalier.training.ParameterGroup;
import espalier.training.Sgd;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import tools.jackson.databind.JsonNode;

/**
 * The bases of HiRA-SB and what steps in them do, against numbers in float64 that were made apart
 * from this code: every case of the {@linkplain HiraSbGolden golden files}.
 */
class HiraSbGoldenTest {

  private static final double RATE = 0.05;
  private static final int STEPS = 5;

  @Test
  void the_golden_numbers_were_made_with_the_constants_of_the_method() {
    try (var golden = HiraSbGolden.open()) {
      assertThat(golden.facts().get("als_ridge").doubleValue()).isEqualTo(Bases.RIDGE);
      assertThat(golden.facts().get("floor").doubleValue()).isEqualTo(Weighting.FLOOR);
    }
  }

  @TestFactory
  List<DynamicTest> bases_and_steps_are_those_of_the_golden_file() {
    var tests = new ArrayList<DynamicTest>();
    try (var golden = HiraSbGolden.open()) {
      for (String name : golden.cases()) {
        tests.add(
            DynamicTest.dynamicTest(
                name + " in float64", () -> bases(name, ScalarType.Double, 1e-6)));
        tests.add(
            DynamicTest.dynamicTest(
                name + " in float32", () -> bases(name, ScalarType.Float, 2e-3)));
        tests.add(DynamicTest.dynamicTest(name + " by an adapter", () -> adapter(name, 2e-3)));
      }
    }
    return tests;
  }

  private static void bases(String name, ScalarType dtype, double bound) {
    try (var _ = Scope.open();
        var golden = HiraSbGolden.open()) {
      JsonNode facts = golden.of(name);
      int r = facts.get("r").intValue();
      double eta = facts.get("eta").doubleValue();
      double ridge = golden.facts().get("gram_ridge").doubleValue();
      Tensor w = golden.tensor(name + ".W0", dtype);
      Tensor d = target(golden, name, dtype);
      var weighting = Weighting.of(w);
      golden.near(name + ".u", weighting.rows().square().flatten(), bound);
      golden.near(name + ".v", weighting.columns().square().flatten(), bound);
      for (int sweeps : golden.sweeps(name)) {
        String key = name + ".als" + sweeps + ".";

        Bases bases = Bases.of(weighting, d, r, sweeps, Init.shared(1));
        var gram = Gram.of(w, bases, ridge);
        Tensor best = gram.solve(bases.gradient(w, d));

        Tensor projection = bases.update(w, best);
        golden.near(key + "projection", projection, bound);
        golden.near(key + "plain_step", bases.update(w, bases.gradient(w, d)), bound);
        golden.near(key + "col_projector", projector(bases.b()), bound);
        golden.near(key + "row_projector", projector(bases.a().t()), bound);
        golden.near(key + "K_eigenvalues", torch.linalg_eigvalsh(Gram.matrix(w, bases)), bound);
        assertThat(cosine(projection, d))
            .as("captured")
            .isCloseTo(facts.get("captured").get("als" + sweeps).doubleValue(), within(bound));
        if (golden.has(key + "W_matched")) {
          Tensor matched = bases.b().mm(best).mm(bases.a()).mul(new Scalar(-eta));
          golden.near(key + "BRA_matched", matched, bound);
          golden.near(key + "W_matched", w.add(w.mul(matched)), bound);
        }
        if (golden.has(key + "W_after_5_plain")) {
          golden.near(key + "W_after_5_plain", descent(golden, name, w, bases, null), bound);
          golden.near(
              key + "W_after_5_preconditioned", descent(golden, name, w, bases, gram), bound);
        }
      }
    }
  }

  private static Tensor target(HiraSbGolden golden, String name, ScalarType dtype) {
    Tensor g = golden.tensor(name + ".G", dtype);
    return golden.of(name).get("target").stringValue().equals("sign") ? g.sign() : g;
  }

  private static Tensor projector(Tensor columns) {
    Tensor q = torch.linalg_qr(columns).get0();
    return q.mm(q.t());
  }

  private static double cosine(Tensor a, Tensor b) {
    return a.mul(b).sum().item_double() / (a.norm().item_double() * b.norm().item_double());
  }

  /** Five steps of gradient descent on ½‖xWᵀ - t‖²/6 from R = 0, by the formulas. */
  private static Tensor descent(
      HiraSbGolden golden, String name, Tensor w, Bases bases, @Nullable Gram gram) {
    ScalarType dtype = w.scalar_type().intern();
    Tensor x = golden.tensor(name + ".x", dtype);
    Tensor t = golden.tensor(name + ".t", dtype);
    Tensor now = w;
    for (int i = 0; i < STEPS; i++) {
      Tensor full = x.mm(now.t()).sub(t).t().mm(x).div(new Scalar(6));
      Tensor gradient = bases.gradient(w, full);
      Tensor step = gram == null ? gradient : gram.solve(gradient);
      now = now.sub(bases.update(w, step), new Scalar(RATE));
    }
    return now;
  }

  /** The same steps by an adapter on a layer, autograd and an optimizer, in float32. */
  private static void adapter(String name, double bound) {
    try (var golden = HiraSbGolden.open()) {
      JsonNode facts = golden.of(name);
      for (int sweeps : golden.sweeps(name)) {
        String key = name + ".als" + sweeps + ".";
        if (!golden.has(key + "W_after_5_plain")) {
          continue;
        }
        HiraSbConfig config =
            HiraSbConfig.defaults()
                .withR(facts.get("r").intValue())
                .withStart(
                    start ->
                        start
                            .withAlsSweeps(sweeps)
                            .withUpdateTarget(
                                facts.get("target").stringValue().equals("sign")
                                    ? UpdateTarget.SIGN
                                    : UpdateTarget.GRADIENT));
        double s = facts.get("scale").doubleValue();
        // The golden plain step has its gradient divided by s², so that both modes share the rate.
        trained(golden, name, config, key + "W_after_5_plain", RATE / (s * s), bound);
        trained(
            golden,
            name,
            config.withPrecondition(true),
            key + "W_after_5_preconditioned",
            RATE,
            bound);
      }
    }
  }

  private static void trained(
      HiraSbGolden golden,
      String name,
      HiraSbConfig config,
      String key,
      double rate,
      double bound) {
    try (var _ = Scope.graph();
        var layer = new Linear(golden.tensor(name + ".W0", ScalarType.Float), null)) {
      Tensor x = golden.tensor(name + ".x", ScalarType.Float);
      Tensor t = golden.tensor(name + ".t", ScalarType.Float);
      Tensor g = golden.tensor(name + ".G", ScalarType.Float);
      Adapter adapter =
          config.create(
              layer, "layer", Init.shared(1).withPrepared(Map.of(HiraSbConfig.GRADIENT, g)));
      adapter.trainable(true);
      layer.adapters().attach("golden", adapter);
      layer.adapters().activate(List.of("golden"));
      var group = new ParameterGroup("R", adapter.parameters(), rate, 0);
      try (var optimizer = new Sgd(List.of(group), 0)) {
        for (int i = 0; i < STEPS; i++) {
          layer.forward(x).sub(t).square().sum().div(new Scalar(12)).backward();
          optimizer.step(1);
          group.parameters().values().forEach(p -> p.mutable_grad().reset());
        }
      }
      golden.near(key, layer.weight().add(adapter.deltaWeight()), bound);
    }
  }
}
