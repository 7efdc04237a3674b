package espalier.serving;

import espalier.checkpoints.pretrained.PretrainedModel;
import espalier.models.KvCache;
import espalier.models.Model;
import espalier.models.Task;
import espalier.text.ChatTemplate;
import espalier.text.Message;
import espalier.text.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.bytedeco.pytorch.NoGradGuard;
import org.jspecify.annotations.Nullable;

/**
 * Writes on where prompts end.
 *
 * <pre>{@code
 * List<Prompt> prompts =
 *     List.of(generator.prompt("Bonjour").with("french"), generator.prompt("Hello"));
 * for (Generation each : generator.generate(prompts, Sampling.greedy())) {
 *   IO.println(each.text());
 * }
 * }</pre>
 *
 * <p>Rows of one call go through the model together, each with its own adapter; what a row says
 * does not depend on those beside it, but for rounding. The model and the tokenizer stay the
 * caller's. A generator holds no state, so one serves many calls, but a model is driven by one
 * thread at a time.
 */
public final class Generator {

  private final Model model;
  private final Tokenizer tokenizer;
  private final RowAdapters adapters;
  private final Set<Integer> endIds;
  private final Sampler sampler;

  private Generator(Model model, Tokenizer tokenizer, Consumer<List<String>> adapters) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.adapters = new RowAdapters(model, adapters);
    var ends = new LinkedHashSet<>(tokenizer.stopIds());
    ends.addAll(model.config().tokens().end());
    endIds = Set.copyOf(ends);
    sampler = new Sampler(ends.stream().mapToInt(Integer::intValue).toArray());
  }

  /**
   * A generator over a model.
   *
   * @param adapters told the adapter of each row before a batch that mixes them; throws {@link
   *     IllegalArgumentException} for a name that it does not know
   * @throws IllegalArgumentException if the model does not write text
   */
  public static Generator of(Model model, Tokenizer tokenizer, Consumer<List<String>> adapters) {
    if (model.task() == Task.SEQ_CLS) {
      throw new IllegalArgumentException(
          "%s is a classifier, which writes no text; load it with its language-model head"
              .formatted(model.modelType()));
    }
    if (model.task() == Task.SEQ_2_SEQ_LM && model.config().tokens().decoderStart() == null) {
      throw new IllegalArgumentException(
          "config.json has no decoder_start_token_id, so the decoder has nothing to start from; T5"
              + " has 0");
    }
    return new Generator(model, tokenizer, adapters);
  }

  /**
   * A generator over a model from a checkpoint, with its adapters.
   *
   * @throws IllegalArgumentException if the model does not write text
   */
  public static Generator of(PretrainedModel model) {
    return of(
        model.model(),
        model.tokenizer(),
        names -> model.adapters().mixed(names, names.size(), () -> true));
  }

  /** A prompt of plain text, with the special tokens that the tokenizer puts around it. */
  public Prompt prompt(String text) {
    return Prompt.of(tokenizer.encode(text, true));
  }

  /**
   * A prompt that asks for the next message of a conversation, by the model's chat template.
   *
   * @throws IllegalArgumentException if the model has none, or it refuses the messages
   */
  public Prompt prompt(List<Message> messages) {
    ChatTemplate template =
        tokenizer
            .chatTemplate()
            .orElseThrow(
                () ->
                    new IllegalArgumentException(
                        "the model has no chat template, so it is not made for conversations; give"
                            + " a plain text, or take the model's -Instruct sibling"));
    return Prompt.of(tokenizer.encode(template.render(messages, true, Map.of()).text(), false));
  }

  /** Starts a conversation. */
  public Conversation conversation() {
    return new Conversation(this);
  }

  /** Continues one prompt. */
  public Generation generate(Prompt prompt, Sampling sampling) {
    return generate(List.of(prompt), sampling).getFirst();
  }

  /** Continues each prompt. */
  public List<Generation> generate(List<Prompt> prompts, Sampling sampling) {
    return generate(prompts, sampling, TokenListener.NONE);
  }

  /**
   * Continues each prompt, and tells of each token as it comes. An interrupt of the thread ends all
   * rows where they are; the thread stays interrupted. What the listener throws ends the call.
   *
   * @return one generation a prompt, in their order
   * @throws IllegalArgumentException if a prompt is empty, does not fit into the model's context
   *     together with {@code maxNewTokens}, or names an adapter that is not there
   * @throws IllegalStateException if the model is in training mode
   */
  public List<Generation> generate(
      List<Prompt> prompts, Sampling sampling, TokenListener listener) {
    return generate(prompts, prompts.stream().map(_ -> sampling).toList(), listener);
  }

  /**
   * Continues each prompt by its own settings.
   *
   * @param samplings one a prompt; with different seeds, equal prompts get different answers
   */
  public List<Generation> generate(
      List<Prompt> prompts, List<Sampling> samplings, TokenListener listener) {
    if (prompts.size() != samplings.size()) {
      throw new IllegalArgumentException(
          "there are %d prompts but %d samplings; give one a prompt"
              .formatted(prompts.size(), samplings.size()));
    }
    if (prompts.isEmpty()) {
      return List.of();
    }
    for (int row = 0; row < prompts.size(); row++) {
      check(row, prompts.get(row).ids(), samplings.get(row));
    }
    List<String> names = adapters.of(prompts);
    int longest = prompts.stream().mapToInt(prompt -> prompt.ids().length).max().orElse(0);
    int room = samplings.stream().mapToInt(Sampling::maxNewTokens).max().orElse(0);
    // Room for a usual answer; the cache makes more when a long one needs it.
    try (KvCache cache = model.newCache(longest + Math.min(room, 256))) {
      return run(prompts, samplings, names, cache, listener);
    }
  }

  /**
   * Continues each prompt with the answer that is likely as a whole, as far as a search along so
   * many beams finds it. Each row has its adapter, on all its beams. An interrupt of the thread
   * ends all rows with the best that was found; the thread stays interrupted.
   *
   * @param sampling its temperature must be 0: nothing is drawn
   * @return one generation a prompt, in their order
   * @throws IllegalArgumentException as above, and if {@code sampling} draws
   * @throws IllegalStateException if the model is in training mode
   */
  public List<Generation> generate(List<Prompt> prompts, Sampling sampling, Beams beams) {
    if (!sampling.isGreedy()) {
      throw new IllegalArgumentException(
          "temperature is %s but a search along beams draws nothing; set it to 0, or leave the beams out"
              .formatted(sampling.temperature()));
    }
    if (beams.number() == 1 || prompts.isEmpty()) {
      return generate(prompts, sampling);
    }
    for (int row = 0; row < prompts.size(); row++) {
      check(row, prompts.get(row).ids(), sampling);
    }
    List<String> names = adapters.of(prompts);
    int longest = prompts.stream().mapToInt(prompt -> prompt.ids().length).max().orElse(0);
    try (KvCache cache = model.newCache(longest + Math.min(sampling.maxNewTokens(), 256))) {
      return search(prompts, sampling, beams, names, cache);
    }
  }

  private List<Generation> search(
      List<Prompt> prompts,
      Sampling sampling,
      Beams beams,
      @Nullable List<String> names,
      KvCache cache) {
    List<Continuation> rows =
        IntStream.range(0, prompts.size())
            .mapToObj(row -> continuation(row, prompts.get(row).ids(), sampling))
            .toList();
    List<Hypotheses> searches =
        rows.stream()
            .map(_ -> new Hypotheses(beams, sampling.maxNewTokens(), ids -> ends(ids, sampling)))
            .toList();
    boolean whole;
    try (var _ = new NoGradGuard();
        var decoding = new Decoding(model, cache, names)) {
      List<History> starts = rows.stream().map(Continuation::history).toList();
      whole =
          new BeamSearch(decoding, sampler, beams.number(), endIds.size(), searches, starts)
              .run(prompts.stream().map(Prompt::ids).toList());
    }
    return rows.stream()
        .map(
            row -> {
              for (int id : searches.get(row.row()).best()) {
                row.take(id);
              }
              if (!whole && !row.finished()) {
                row.cancel();
              }
              return row.generation(prompts.get(row.row()).ids().length, 0);
            })
        .toList();
  }

  /** Whether an answer ends with the last of these tokens. */
  private boolean ends(int[] ids, Sampling sampling) {
    if (endIds.contains(ids[ids.length - 1])) {
      return true;
    }
    if (sampling.stop().isEmpty()) {
      return false;
    }
    String text = tokenizer.decode(ids, true);
    return sampling.stop().stream().anyMatch(text::contains);
  }

  /**
   * Continues rows after what a cache holds of them.
   *
   * @param cache of one row; or empty. Afterwards it holds the prompt and the answer but its last
   *     token.
   */
  List<Generation> run(
      List<Prompt> prompts,
      List<Sampling> samplings,
      @Nullable List<String> names,
      KvCache cache,
      TokenListener listener) {
    int cached = (int) cache.length();
    var rows = new ArrayList<Continuation>();
    for (int row = 0; row < prompts.size(); row++) {
      rows.add(continuation(row, prompts.get(row).ids(), samplings.get(row)));
    }
    List<int[]> unread =
        prompts.stream().map(p -> Arrays.copyOfRange(p.ids(), cached, p.ids().length)).toList();
    try (var _ = new NoGradGuard();
        var decoding = new Decoding(model, cache, names)) {
      new Batch(decoding, sampler, rows).run(unread, listener);
    }
    return rows.stream()
        .map(row -> row.generation(prompts.get(row.row()).ids().length, cached))
        .toList();
  }

  private Continuation continuation(int row, int[] prompt, Sampling sampling) {
    Integer start = model.config().tokens().decoderStart();
    boolean answers = model.task() == Task.SEQ_2_SEQ_LM && start != null;
    // An answer is a text of its own: the penalty counts it alone, and it has a first word.
    int[] before = answers ? new int[] {start} : prompt;
    return new Continuation(
        row,
        new History(sampling, before),
        endIds,
        answers ? tokenizer.streamDecoder() : tokenizer.streamDecoder(prompt));
  }

  void check(int row, int[] ids, Sampling sampling) {
    if (model.training()) {
      throw new IllegalStateException(
          "the model is in training mode, where dropout would garble what it writes; call"
              + " train(false) first");
    }
    if (ids.length == 0) {
      throw new IllegalArgumentException(
          "prompt %d has no tokens but at least one is needed; give a text or the BOS token"
              .formatted(row));
    }
    int room = room(ids.length);
    if (room < sampling.maxNewTokens()) {
      throw new IllegalArgumentException(
          "prompt %d has %d tokens and maxNewTokens is %d, together %d, but %s has %d positions; shorten the prompt%s"
              .formatted(
                  row,
                  ids.length,
                  sampling.maxNewTokens(),
                  (long) ids.length + sampling.maxNewTokens(),
                  model.modelType(),
                  model.config().maxPositions(),
                  room < 1 ? "" : " or set maxNewTokens to " + room));
    }
  }

  /** How many tokens can follow a prompt of this length; 0 or less if it is too long itself. */
  int room(int prompt) {
    int positions = model.config().maxPositions();
    // With an encoder, prompt and answer are texts of their own, and T5's positions have no end.
    boolean endless = positions == 0 || model.task() == Task.SEQ_2_SEQ_LM;
    return endless ? Integer.MAX_VALUE : positions - prompt;
  }

  RowAdapters adapters() {
    return adapters;
  }

  Model model() {
    return model;
  }
}
