package espalier.serving;

import espalier.models.KvCache;
import espalier.models.Model;
import espalier.models.Task;
import espalier.nn.Rows;
import espalier.text.Message;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * A conversation with a model: what was said so far, and the model's memory of it.
 *
 * <pre>{@code
 * try (Conversation talk = generator.conversation().system("Be brief.")) {
 *   talk.say("What is a pear?", Sampling.greedy(), (_, _, piece) -> IO.print(piece));
 *   talk.say("And a quince?", Sampling.greedy(), (_, _, piece) -> IO.print(piece));
 * }
 * }</pre>
 *
 * <p>Each turn renders the whole conversation anew, as the template wants it, but the model reads
 * only the tokens after those that it has read before. For one thread.
 */
public final class Conversation implements AutoCloseable {

  private final Generator generator;
  private final List<Message> messages = new ArrayList<>();
  private @Nullable String adapter;
  private @Nullable KvCache cache;

  Conversation(Generator generator) {
    if (generator.model().task() == Task.SEQ_2_SEQ_LM) {
      throw new IllegalArgumentException(
          "%s reads each text anew with its encoder and holds no conversation; use generate"
              .formatted(generator.model().modelType()));
    }
    this.generator = generator;
  }

  /** Sets what the model is told before the conversation, in the place of what it was told. */
  public Conversation system(String text) {
    if (!messages.isEmpty() && messages.getFirst().role().equals("system")) {
      messages.removeFirst();
    }
    messages.addFirst(Message.system(text));
    return this;
  }

  /**
   * Says something and hears the answer, which may have as many tokens as {@code sampling} allows
   * and the model's context still holds.
   *
   * <p>If it fails, nothing has been said. A cancelled answer stays in the conversation as far as
   * it got.
   *
   * @param listener hears the answer as it comes, as row 0
   * @throws IllegalArgumentException if the conversation has become too long for the model
   */
  public Generation say(String text, Sampling sampling, TokenListener listener) {
    var asked = new ArrayList<>(messages);
    asked.add(Message.user(text));
    Prompt prompt = generator.prompt(asked).with(adapter);
    Generation answer = answer(prompt, sampling, listener);
    messages.add(Message.user(text));
    messages.add(Message.assistant(answer.text()));
    return answer;
  }

  private Generation answer(Prompt prompt, Sampling sampling, TokenListener listener) {
    List<Prompt> prompts = List.of(prompt);
    int room = generator.room(prompt.ids().length);
    if (room < 1) {
      throw new IllegalArgumentException(
          "the conversation has %d tokens with this message but %s has %d positions; begin anew with reset, or say less"
              .formatted(
                  prompt.ids().length,
                  generator.model().modelType(),
                  generator.model().config().maxPositions()));
    }
    Sampling fitting = sampling.maxNewTokens() <= room ? sampling : shorter(sampling, room);
    generator.check(0, prompt.ids(), fitting);
    List<String> names = generator.adapters().of(prompts);
    KvCache known = known(prompt.ids(), names);
    try {
      return generator.run(prompts, List.of(fitting), names, known, listener).getFirst();
    } catch (RuntimeException | Error e) {
      forget(); // the cache may have stopped between two layers
      throw e;
    }
  }

  private static Sampling shorter(Sampling sampling, int room) {
    return sampling
        .withMinNewTokens(Math.min(room, sampling.minNewTokens()))
        .withMaxNewTokens(room);
  }

  /** The cache, cut to what of it is good for {@code ids}; one token at least stays unread. */
  private KvCache known(int[] ids, @Nullable List<String> names) {
    Model model = generator.model();
    KvCache known = cache;
    if (known == null) {
      known = model.newCache(ids.length + 256);
      cache = known;
    }
    KvCache held = known;
    known.truncate(
        names == null
            ? model.reusable(held, ids)
            : ScopedValue.where(Rows.ADAPTERS, names).call(() -> model.reusable(held, ids)));
    return known;
  }

  /** What was said so far, the system's message first. */
  public List<Message> messages() {
    return List.copyOf(messages);
  }

  /** The adapter that answers, or null for what is active on the model. */
  public @Nullable String adapter() {
    return adapter;
  }

  /**
   * Lets another adapter answer from now on. The conversation goes on, but the new adapter reads it
   * from the start: keys and values of one adapter mean nothing to another. An activated adapter
   * takes over what the base has read before its invocation.
   *
   * @param name an adapter, {@link Rows#BASE} for none, or null for what is active
   */
  public void adapter(@Nullable String name) {
    adapter = name;
  }

  /** Forgets what was said, but not what the system was told. */
  public void reset() {
    messages.removeIf(message -> !message.role().equals("system"));
    forget();
  }

  private void forget() {
    close();
  }

  /** Frees the model's memory of the conversation. Something said later brings it back. */
  @Override
  public void close() {
    if (cache != null) {
      cache.close();
      cache = null;
    }
  }
}
