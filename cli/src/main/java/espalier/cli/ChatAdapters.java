package espalier.cli;

import espalier.checkpoints.AdapterFiles;
import espalier.checkpoints.AdapterSource;
import espalier.checkpoints.CheckpointException;
import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.nn.Rows;
import espalier.serving.Conversation;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.TypeConversionException;

/** Who answers in a conversation: adapters that are loaded, and folders that are named later. */
final class ChatAdapters {

  private static final String BASE = "base";

  private final PretrainedModel model;
  private final Conversation talk;
  private final Output output;

  ChatAdapters(PretrainedModel model, Conversation talk, Output output) {
    this.model = model;
    this.talk = talk;
    this.output = output;
  }

  /** Tells which there are, and which one answers. */
  void list() {
    List<String> answering = answering();
    for (String name : model.adapters().names()) {
      String type = model.adapters().config(name).peftType();
      output.note("%s %s (%s)".formatted(answering.contains(name) ? "*" : " ", name, type));
    }
    output.note("%s %s (no adapter)".formatted(answering.isEmpty() ? "*" : " ", BASE));
  }

  private List<String> answering() {
    String chosen = talk.adapter();
    if (chosen == null) {
      return model.adapters().active();
    }
    return chosen.equals(Rows.BASE) ? List.of() : List.of(chosen);
  }

  /**
   * Lets an adapter answer. One that is named by its folder is loaded first; if one of its name is
   * there, it is exchanged for what lies in the folder.
   *
   * @param word a name, {@code base}, a folder or one of the hub, or {@code NAME=FOLDER}
   */
  void choose(String word) {
    if (word.equals(BASE)) {
      talk.adapter(Rows.BASE);
      output.note(BASE + " answers from now on");
    } else if (model.adapters().names().contains(word)) {
      answer(word);
    } else {
      Found adapter = find(word);
      if (adapter == null) {
        output.note(
            word.isEmpty()
                ? "/adapter needs a name or a folder; known are " + known()
                : "there is no adapter %s, and no folder of that name with one; known are %s"
                    .formatted(word, known()));
      } else {
        bring(adapter);
      }
    }
  }

  private String known() {
    List<String> names = model.adapters().names();
    return names.isEmpty() ? "base only" : String.join(", ", names) + ", " + BASE;
  }

  /** A folder alone, or one of the hub, gives the adapter its own name. */
  private @Nullable Found find(String word) {
    try {
      AdapterSource own = AdapterSource.parse(word);
      Path folder = find(own);
      if (folder != null) {
        return new Found(own.name(), folder);
      }
      if (word.contains("=")) {
        NamedAdapter named = NamedAdapter.parse(word);
        Path other = find(named.source());
        return other == null ? null : new Found(named.name(), other);
      }
    } catch (IllegalArgumentException | TypeConversionException e) {
      if (word.startsWith("hub:")) {
        throw e;
      }
      return null;
    }
    return null;
  }

  private @Nullable Path find(AdapterSource source) {
    if (!(source instanceof AdapterSource.Folder)) {
      return source.resolve(output::note);
    }
    try {
      Path folder = source.resolve(output::note);
      return Files.isRegularFile(folder.resolve(AdapterFiles.CONFIG)) ? folder : null;
    } catch (CheckpointException _) {
      return null;
    }
  }

  private void bring(Found adapter) {
    List<String> tokens = model.missingTokens(adapter.folder());
    if (!tokens.isEmpty()) {
      throw new IllegalStateException(
          "%s has %d tokens of its own, such as %s, which can not come into a talk that is under way; start the chat with --adapter %s"
              .formatted(adapter.name(), tokens.size(), tokens.getFirst(), adapter.folder()));
    }
    if (model.adapters().names().contains(adapter.name())) {
      model.swapAdapter(adapter.name(), adapter.folder()).warnings().forEach(output::note);
      talk.close(); // what the model remembers was computed with the old tensors
      output.note("%s was exchanged for %s".formatted(adapter.name(), adapter.folder()));
    } else {
      model.loadAdapter(adapter.name(), adapter.folder()).warnings().forEach(output::note);
    }
    answer(adapter.name());
  }

  private void answer(String name) {
    talk.adapter(name);
    output.note(name + " answers from now on");
  }

  /**
   * An adapter that is not loaded yet.
   *
   * @param name what it will be called
   * @param folder where it lies
   */
  private record Found(String name, Path folder) {}
}
