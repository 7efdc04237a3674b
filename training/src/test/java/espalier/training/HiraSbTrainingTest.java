package espalier.training;

import static org.assertj.core.api.Assertions.assertThat;
import static org.bytedeco.pytorch.global.torch.createCPUGenerator;
import static org.bytedeco.pytorch.global.torch.empty;
import static org.bytedeco.pytorch.global.torch.linalg_qr;

import espalier.adapters.Adapters;
import espalier.adapters.AttachOptions;
import espalier.adapters.InitSource;
import espalier.adapters.LoadOptions;
import espalier.adapters.ModelFacts;
import espalier.adapters.Targets;
import espalier.adapters.calibration.CalibrationOptions;
import espalier.adapters.calibration.Prepared;
import espalier.adapters.calibration.WeightGradients;
import espalier.adapters.hirasb.Bases;
import espalier.adapters.hirasb.Gram;
import espalier.adapters.hirasb.HiraSbCalibration;
import espalier.adapters.hirasb.HiraSbConfig;
import espalier.adapters.hirasb.Weighting;
import espalier.nn.Init;
import espalier.nn.Layer;
import espalier.nn.Linear;
import espalier.nn.Scope;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.bytedeco.pytorch.Generator;
import org.bytedeco.pytorch.GeneratorOptional;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * HiRA-SB on a model of two layers that was trained on one task and is adapted to another, which is
 * what its bases are for.
 */
class HiraSbTrainingTest {

  private static final int WIDTH = 48;
  private static final int RANK = 4;
  private static final HiraSbConfig CONFIG =
      HiraSbConfig.defaults().withR(RANK).withTargets(Targets.named("below", "above"));

  private Scope scope = Scope.open();

  @BeforeEach
  void open() {
    scope.close();
    scope = Scope.open();
  }

  @AfterEach
  void close() {
    scope.close();
  }

  private static Tensor normal(Generator random, double deviation, long... shape) {
    return empty(shape).normal_(0, deviation, new GeneratorOptional(random));
  }

  /** y = above · tanh(below · x), trained by all of its weights on the first of two tasks. */
  private static final class Net extends Layer {
    private final Linear below;
    private final Linear above;
    private final Tensor inputs; // [tokens, in]
    private final Tensor answers; // of the second task

    Net() {
      Generator random = createCPUGenerator(5);
      double deviation = 1 / Math.sqrt(WIDTH);
      below = child("below", new Linear(normal(random, deviation, WIDTH, 24), null));
      above = child("above", new Linear(normal(random, deviation, 16, WIDTH), null));
      inputs = Scope.own(normal(random, 1, 256, 24));
      Tensor teacher = normal(random, 0.4, 32, 24);
      Tensor head = normal(random, 0.4, 16, 32);
      Tensor first = inputs.mm(teacher.t()).tanh().mm(head.t());
      // the second task: the teacher turned in two directions
      Tensor turn = normal(random, 0.5, 32, 2).mm(normal(random, 0.5, 2, 24));
      answers = Scope.own(inputs.mm(teacher.add(turn).t()).tanh().mm(head.t()));
      List<Tensor> weights = List.of(below.storedWeight(), above.storedWeight());
      weights.forEach(w -> w.set_requires_grad(true));
      try (var adam = new AdamW(group(weights, 5e-3))) {
        for (int i = 0; i < 150; i++) {
          try (var _ = Scope.graph()) {
            loss(first).backward();
          }
          adam.step(1);
          weights.forEach(w -> w.mutable_grad().reset());
        }
      }
      weights.forEach(w -> w.set_requires_grad(false));
    }

    private Tensor loss(Tensor wanted) {
      return above.forward(below.forward(inputs).tanh()).sub(wanted).square().mean();
    }

    /** The loss on the second task. */
    Tensor loss() {
      return loss(answers);
    }

    long backward() {
      try (var _ = Scope.graph()) {
        loss().mul(new Scalar((double) inputs.size(0))).backward();
      }
      return inputs.size(0);
    }

    double value() {
      try (var _ = Scope.open();
          var _ = new NoGradGuard()) {
        return loss().item_double();
      }
    }

    @Override
    public void close() {
      super.close();
      inputs.close();
      answers.close();
    }
  }

  private static List<ParameterGroup> group(List<Tensor> parameters, double rate) {
    var named = new LinkedHashMap<String, Tensor>();
    parameters.forEach(p -> named.put("p" + named.size(), p));
    return List.of(new ParameterGroup("all", named, rate, 0));
  }

  private static Adapters adapted(Net net, HiraSbConfig config) {
    var adapters = Adapters.of(net, ModelFacts.of("llama"));
    try (Prepared prepared =
        HiraSbCalibration.run(
            net, ModelFacts.of("llama"), config, CalibrationOptions.defaults(), net::backward)) {
      adapters.attach(
          "sb", config, AttachOptions.of(InitSource.seeded(1).withPrepared(prepared.values())));
    }
    return adapters;
  }

  private static List<Tensor> parameters(Adapters adapters) {
    var all = new ArrayList<Tensor>();
    adapters
        .names()
        .forEach(
            name -> adapters.on(name).values().forEach(a -> all.addAll(a.parameters().values())));
    return all;
  }

  private static List<Double> trained(Net net, Optimizer optimizer, List<Tensor> all, int steps) {
    var losses = new ArrayList<Double>();
    for (int i = 0; i < steps; i++) {
      try (var _ = Scope.graph()) {
        Tensor loss = net.loss();
        loss.backward();
        losses.add(loss.item_double());
      }
      optimizer.step(1);
      all.forEach(p -> p.mutable_grad().reset());
    }
    return losses;
  }

  private static double after(Adapters adapters, Net net, int steps, double rate) {
    List<Tensor> all = parameters(adapters);
    try (var adam = new AdamW(group(all, rate))) {
      trained(net, adam, all, steps);
    }
    return net.value();
  }

  @Test
  void sweeps_capture_more_of_the_gradient_than_the_balanced_svd_and_that_more_than_others() {
    try (var net = new Net();
        var gradients = new WeightGradients(Map.of("below", net.below, "above", net.above))) {
      net.backward();
      for (String path : List.of("below", "above")) {
        Tensor g = gradients.mean(path);
        Tensor w = ((Linear) Objects.requireNonNull(net.find(path))).weight();
        Generator random = createCPUGenerator(3);
        var weighting = Weighting.of(w);
        double als = captured(w, g, Bases.of(weighting, g, RANK, 2, Init.shared(1)));
        double balanced = captured(w, g, Bases.of(weighting, g, RANK, 0, Init.shared(1)));
        double hadamard = captured(w, g, hadamard(w.mul(g)));
        double chance =
            captured(
                w,
                g,
                new Bases(
                    linalg_qr(normal(random, 1, w.size(0), RANK)).get0(),
                    linalg_qr(normal(random, 1, w.size(1), RANK)).get0().t()));

        assertThat(als).as(path).isGreaterThan(balanced - 1e-3);
        assertThat(balanced).as(path).isGreaterThan(hadamard - 1e-3);
        assertThat(hadamard).as(path).isGreaterThan(2 * chance);
      }
    }
  }

  private static Bases hadamard(Tensor wg) {
    var usv = org.bytedeco.pytorch.global.torch.linalg_svd(wg);
    return new Bases(usv.get0().narrow(1, 0, RANK), usv.get2().narrow(0, 0, RANK));
  }

  /** The largest cosine with the gradient that the space of the bases has. */
  private static double captured(Tensor w, Tensor g, Bases bases) {
    Tensor step = bases.update(w, Gram.of(w, bases, 1e-6).solve(bases.gradient(w, g)));
    return step.mul(g).sum().item_double() / (step.norm().item_double() * g.norm().item_double());
  }

  @Test
  void thirty_steps_lower_the_loss_and_more_so_than_in_random_bases() {
    double frozen;
    double own;
    try (var net = new Net()) {
      frozen = net.value();
      Adapters adapters = adapted(net, CONFIG);
      assertThat(net.value()).isEqualTo(frozen);
      own = after(adapters, net, 30, 2e-3);
    }
    double random;
    try (var net = new Net()) {
      Adapters adapters = adapted(net, CONFIG);
      randomise(adapters, net);
      random = after(adapters, net, 30, 2e-3);
    }

    assertThat(own).isLessThan(0.8 * frozen);
    assertThat(own).isLessThan(random);
  }

  /** Puts random bases, balanced as the found ones are, in their place. */
  private static void randomise(Adapters adapters, Net net) {
    Generator random = createCPUGenerator(8);
    var state = new LinkedHashMap<>(adapters.state("sb"));
    for (String path : List.of("below", "above")) {
      Tensor w = ((Linear) Objects.requireNonNull(net.find(path))).weight();
      Bases bases =
          new Bases(normal(random, 1, w.size(0), RANK), normal(random, 1, RANK, w.size(1)))
              .balanced(Weighting.of(w));
      state.put("base_model.model." + path + ".hirasb_A", bases.a());
      state.put("base_model.model." + path + ".hirasb_B", bases.b());
    }
    adapters.setState("sb", state, LoadOptions.defaults().withTrainable(true).withStrict(true));
  }

  @ParameterizedTest
  @ValueSource(booleans = {false, true})
  void a_run_that_is_gone_on_with_has_the_losses_of_one_that_was_not_stopped(boolean whitened) {
    HiraSbConfig config = CONFIG.withPrecondition(whitened);
    double rate = whitened ? 1e-4 : 2e-3;
    List<Double> whole;
    Map<String, Tensor> state;
    Map<String, Tensor> remembered;
    try (var net = new Net()) {
      Adapters adapters = adapted(net, config);
      List<Tensor> all = parameters(adapters);
      try (var adam = new AdamW(group(all, rate))) {
        trained(net, adam, all, 4);
        state = copied(adapters.state("sb"));
        remembered = copied(adam.state());
        whole = trained(net, adam, all, 4);
      }
    }

    List<Double> resumed;
    try (var net = new Net()) {
      var adapters = Adapters.of(net, ModelFacts.of("llama"));
      adapters.load("sb", config, state, LoadOptions.defaults().withTrainable(true));
      List<Tensor> all = parameters(adapters);
      try (var adam = new AdamW(group(all, rate))) {
        adam.restore(remembered);
        resumed = trained(net, adam, all, 4);
      }
    }

    for (int i = 0; i < whole.size(); i++) {
      // R of whitened coordinates goes through two triangular solves in float32
      double bound = whitened ? 1e-4 * whole.get(i) : 0;
      assertThat(resumed.get(i)).isBetween(whole.get(i) - bound, whole.get(i) + bound);
    }
    assertThat(whole.getLast()).isLessThan(whole.getFirst());
  }

  private static Map<String, Tensor> copied(Map<String, Tensor> tensors) {
    var copies = new LinkedHashMap<String, Tensor>();
    tensors.forEach((name, tensor) -> copies.put(name, tensor.detach().clone()));
    return copies;
  }

  @Test
  void two_of_them_are_active_and_trained_together() {
    try (var net = new Net()) {
      double frozen = net.value();
      Adapters adapters = adapted(net, CONFIG);
      HiraSbConfig other = CONFIG.withStart(s -> s.withSeed(3).withAlsSweeps(0));
      try (Prepared prepared =
          HiraSbCalibration.run(
              net, ModelFacts.of("llama"), other, CalibrationOptions.defaults(), net::backward)) {
        adapters.add(
            "two", other, AttachOptions.of(InitSource.seeded(1).withPrepared(prepared.values())));
      }
      adapters.setActive(List.of("sb", "two"));

      double both = after(adapters, net, 30, 1e-3);

      assertThat(both).isLessThan(frozen);
      assertThat(parameters(adapters)).allMatch(p -> p.abs().max().item_double() > 0);
    }
  }
}
