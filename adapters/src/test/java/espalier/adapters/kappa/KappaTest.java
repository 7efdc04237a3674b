package espalier.adapters.kappa;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.stack;
import static org.bytedeco.pytorch.global.torch.tensor;

import espalier.adapters.ConfigException;
import espalier.adapters.ModelFacts;
import espalier.adapters.Modules;
import espalier.adapters.NotFiniteException;
import espalier.adapters.Tree;
import espalier.nn.ExpertWeight;
import espalier.nn.Int8Weight;
import espalier.nn.Linear;
import espalier.nn.TransposedLinear;
import java.util.ArrayList;
import java.util.List;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.junit.jupiter.api.Test;

class KappaTest {

  private static final ModelFacts FACTS = ModelFacts.of("tree").withEmbeddings("embed", "lm_head");

  private static Tensor diagonal(float... values) {
    return tensor(values).diag();
  }

  private static Tree tree() {
    return Tree.empty()
        .with("a", new Linear(diagonal(8, 2), null)) // 4
        .with("b", new Linear(diagonal(3, 3), null)) // 1
        .with("c", new Linear(diagonal(10, 1), null)) // 10
        .with("conv1d", new TransposedLinear(diagonal(6, 3), null)) // 2
        .with(
            "mlp.up_proj",
            new ExpertWeight(stack(new TensorVector(diagonal(2, 1), diagonal(4, 1))), false)) // 3
        .with("lm_head", new Linear(diagonal(5, 4), null)); // 1.25
  }

  private static Kappa kappa() {
    return new Kappa(tree(), FACTS, KappaOptions.defaults());
  }

  private static List<String> paths(List<Kappa.Measured> measured) {
    return measured.stream().map(Kappa.Measured::path).toList();
  }

  @Test
  void layers_are_sorted_by_the_ratio_of_their_singular_values() {
    List<Kappa.Measured> measured = kappa().modules();

    assertThat(paths(measured)).containsExactly("b", "lm_head", "a", "c");
    assertThat(measured.get(2).kappa()).isCloseTo(4, within(1e-5));
  }

  @Test
  void experts_count_with_their_mean() {
    List<Kappa.Measured> measured = kappa().parameters();

    assertThat(paths(measured)).containsExactly("mlp.up_proj");
    assertThat(measured.getFirst().kappa()).isCloseTo(3, within(1e-5));
  }

  @Test
  void a_choice_is_a_number_a_part_or_a_threshold() {
    Kappa kappa = kappa();

    assertThat(kappa.select(new KappaChoice.Count(3)).modules())
        .containsExactly("b", "lm_head", "a");
    assertThat(kappa.select(new KappaChoice.Count(9)).modules()).hasSize(4);
    assertThat(kappa.select(new KappaChoice.Part(0.7)).modules()).containsExactly("b", "lm_head");
    assertThat(kappa.select(new KappaChoice.Part(0.01)).modules()).containsExactly("b");
    assertThat(kappa.select(new KappaChoice.Threshold(4.1)).modules())
        .containsExactly("b", "lm_head", "a");
    assertThat(kappa.select(new KappaChoice.Threshold(2)).parameters()).isEmpty();
    assertThat(kappa.select(new KappaChoice.All()).modules()).hasSize(4);
  }

  @Test
  void options_take_layers_in_and_leave_others_out() {
    var options = KappaOptions.defaults().withConv1d(true).withExcludeOutputHead(true);

    assertThat(paths(new Kappa(tree(), FACTS, options).modules()))
        .containsExactly("b", "conv1d", "a", "c");
    assertThat(new Kappa(tree(), FACTS, options.withMaxDim(1)).modules()).isEmpty();
    assertThat(
            new Kappa(tree(), FACTS, options.withMoeSuffixes(List.of(".gate_proj"))).parameters())
        .isEmpty();
  }

  @Test
  void it_measures_once() {
    var told = new ArrayList<String>();
    var kappa = new Kappa(tree(), FACTS, KappaOptions.defaults().withProgress(told::add));

    kappa.select(new KappaChoice.All());
    kappa.select(new KappaChoice.Count(1));

    assertThat(told).hasSize(5);
  }

  @Test
  void the_result_is_targets_of_a_config() {
    var targets = Kappa.findTargets(tree(), FACTS, 0.5).targets();

    assertThat(targets.modules()).isEqualTo(new Modules.Named(List.of("b", "lm_head")));
    assertThat(targets.parameters()).containsExactly("mlp.up_proj");
  }

  @Test
  void a_quantised_weight_is_decoded_once_and_not_at_all_beyond_the_largest_size() {
    var codes = Int8Weight.quantise(diagonal(8, 2), ScalarType.Float);
    Tree quantised = Tree.empty().with("a", new Linear(codes, null));
    long before = Pointer.totalCount();

    var measured = new Kappa(quantised, FACTS, KappaOptions.defaults()).modules();
    var none = new Kappa(quantised, FACTS, KappaOptions.defaults().withMaxDim(1)).modules();

    assertThat(measured.getFirst().kappa()).isCloseTo(4, within(0.1));
    assertThat(none).isEmpty();
    assertThat(Pointer.totalCount()).isLessThanOrEqualTo(before);
  }

  @Test
  void wrong_numbers_and_broken_weights_are_refused() {
    assertThatThrownBy(() -> new KappaChoice.Part(0)).isInstanceOf(ConfigException.class);
    assertThatThrownBy(() -> new KappaChoice.Count(0)).isInstanceOf(ConfigException.class);
    assertThatThrownBy(() -> new KappaChoice.Threshold(Double.NaN))
        .isInstanceOf(ConfigException.class);
    Tree broken =
        Tree.empty().with("a", new Linear(diagonal(1, 1).mul(new Scalar(Double.NaN)), null));
    assertThatThrownBy(() -> new Kappa(broken, FACTS, KappaOptions.defaults()).modules())
        .isInstanceOf(NotFiniteException.class)
        .hasMessageStartingWith("a has entries that are not finite");
  }
}
