package espalier.recipes;

import espalier.adapters.AdapterConfig;
import espalier.adapters.Attached;
import espalier.adapters.LoadOptions;
import espalier.adapters.catalog.AdapterCatalog;
import espalier.adapters.lora.LoraConfig;
import espalier.adapters.lora.LoraInit;
import espalier.checkpoints.AdapterSource;
import espalier.checkpoints.pretrained.PretrainedModel;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/** What a recipe would put on a model, to be looked at and not to be trained: no data is read. */
public final class AdapterPlan {

  private AdapterPlan() {}

  /**
   * Attaches the recipe's adapter as {@link TrainingRun#ADAPTER}. One that starts from data has its
   * layers, shapes and ranks, but not its values.
   *
   * @param progress told, line by line, what is fetched
   * @return warnings
   * @throws RecipeException if the adapter section has a field that is not known
   * @throws espalier.adapters.ConfigException if a field has a wrong value
   */
  public static List<String> attach(
      PretrainedModel model, Recipe asked, Consumer<String> progress) {
    AdapterSource from = asked.from();
    if (from != null) {
      return model
          .loadAdapter(
              TrainingRun.ADAPTER,
              from.resolve(progress),
              LoadOptions.defaults().withTrainable(true))
          .warnings();
    }
    var warnings = new ArrayList<String>();
    Recipe recipe = NewTokens.add(asked, model, warnings::add);
    AdapterCatalog.Read read = RecipeAdapter.read(recipe.adapter());
    AdapterConfig config = read.config();
    warnings.addAll(read.warnings());
    Attached attached =
        DataStart.needed(config)
            ? DataStart.attachWithoutData(model, config)
            : model.attach(TrainingRun.ADAPTER, config, recipe.training().seed());
    warnings.addAll(attached.warnings());
    if (config instanceof LoraConfig lora && lora.init() instanceof LoraInit.Eva eva) {
      warnings.add(
          "EVA shares the ranks out by the data: a layer may get up to %s times r, or be left out"
              .formatted(eva.rho()));
    }
    return List.copyOf(warnings);
  }
}
