package espalier.parity;

import static com.tngtech.archunit.base.DescribedPredicate.not;
import static com.tngtech.archunit.core.domain.JavaClass.Predicates.resideInAPackage;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.Architectures.layeredArchitecture;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import java.io.ObjectInputStream;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The plan of the modules, held to. */
final class StructureTest {

  /** For each module those that it may know. */
  private static final Map<String, List<String>> MAY_KNOW = new LinkedHashMap<>();

  static {
    MAY_KNOW.put("nn", List.of());
    MAY_KNOW.put("text", List.of());
    MAY_KNOW.put("adapters", List.of("nn"));
    MAY_KNOW.put("models", List.of("nn"));
    MAY_KNOW.put("checkpoints", List.of("nn", "adapters", "models", "text"));
    MAY_KNOW.put("training", List.of("nn", "text"));
    MAY_KNOW.put("serving", List.of("nn", "adapters", "models", "text", "checkpoints"));
    MAY_KNOW.put(
        "recipes",
        List.of("nn", "adapters", "models", "text", "checkpoints", "training", "serving"));
    MAY_KNOW.put(
        "cli",
        List.of(
            "nn", "adapters", "models", "text", "checkpoints", "training", "serving", "recipes"));
  }

  private static final JavaClasses CLASSES =
      new ClassFileImporter()
          .importPackages("espalier")
          .that(not(resideInAPackage("espalier.parity..")));

  @Test
  void each_module_knows_only_those_below_it() {
    var architecture = layeredArchitecture().consideringOnlyDependenciesInLayers();
    for (String module : MAY_KNOW.keySet()) {
      architecture = architecture.optionalLayer(module).definedBy("espalier." + module + "..");
    }
    for (var entry : MAY_KNOW.entrySet()) {
      var layer = architecture.whereLayer(entry.getKey());
      architecture =
          entry.getValue().isEmpty()
              ? layer.mayNotAccessAnyLayer()
              : layer.mayOnlyAccessLayers(entry.getValue().toArray(String[]::new));
    }

    architecture.check(CLASSES);
  }

  @Test
  void every_class_is_in_a_module_of_the_plan() {
    List<String> strangers =
        CLASSES.stream()
            .map(type -> type.getPackageName())
            .filter(name -> !MAY_KNOW.containsKey(moduleOf(name)))
            .distinct()
            .sorted()
            .toList();

    assertThat(strangers).isEmpty();
  }

  private static String moduleOf(String packageName) {
    String below = packageName.replaceFirst("^espalier\\.?", "");
    int dot = below.indexOf('.');
    return dot < 0 ? below : below.substring(0, dot);
  }

  @Test
  void packages_are_free_of_cycles() {
    slices().matching("espalier.(**)").should().beFreeOfCycles().check(CLASSES);
  }

  @ParameterizedTest
  @ValueSource(strings = {"Util", "Utils", "Helper", "Helpers", "Manager", "Impl"})
  void a_class_is_named_by_what_it_is(String ending) {
    noClasses()
        .should()
        .haveSimpleNameEndingWith(ending)
        .because("if no noun fits, the method belongs to one of its arguments")
        .check(CLASSES);
  }

  @Test
  void only_the_command_line_ends_the_process() {
    noClasses()
        .that()
        .resideOutsideOfPackage("espalier.cli..")
        .should()
        .callMethod(System.class, "exit", int.class)
        .orShould()
        .callMethod(Runtime.class, "exit", int.class)
        .orShould()
        .callMethod(Runtime.class, "halt", int.class)
        .because("a library must not end the process of those who use it")
        .check(CLASSES);
  }

  @Test
  void no_class_reads_java_objects_from_bytes() {
    noClasses()
        .should()
        .dependOnClassesThat()
        .areAssignableTo(ObjectInputStream.class)
        .because("bytes from strangers could then run code")
        .check(CLASSES);
  }
}
