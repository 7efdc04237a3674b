package espalier.nn;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;

class ForwardLockTest {

  private final ForwardLock lock = new ForwardLock();
  private final AtomicInteger state = new AtomicInteger();

  @Test
  void a_change_waits_for_the_pass_under_way() throws InterruptedException {
    var inside = new CountDownLatch(1);
    var go = new CountDownLatch(1);
    var seen = new AtomicInteger(-1);
    Thread pass =
        Thread.ofVirtual()
            .start(
                () ->
                    lock.forward(
                        () -> {
                          inside.countDown();
                          await(go);
                          seen.set(state.get());
                          return state;
                        }));
    await(inside);
    Thread change = Thread.ofVirtual().start(() -> lock.change(() -> state.set(1)));
    while (change.getState() != Thread.State.WAITING) {
      Thread.onSpinWait();
    }

    go.countDown();
    pass.join();
    change.join();

    assertThat(seen).hasValue(0);
    assertThat(state).hasValue(1);
  }

  @Test
  void a_change_from_within_a_pass_is_refused_and_would_wait_for_itself() {
    assertThatThrownBy(
            () ->
                lock.forward(
                    () -> {
                      lock.change(() -> state.set(1));
                      return state;
                    }))
        .isInstanceOf(IllegalStateException.class)
        .hasMessage(
            "the model can not be changed from within a forward pass; let the pass end first");
    assertThat(state).hasValue(0);
  }

  private static void await(CountDownLatch latch) {
    try {
      latch.await();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }
}
