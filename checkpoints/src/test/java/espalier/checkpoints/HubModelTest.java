package espalier.checkpoints;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import espalier.checkpoints.FakeHub.Answer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HubModelTest {

  private static final String WEIGHTS = "cdn GET /model.safetensors";

  @TempDir Path home;
  private final FakeHub hub = new FakeHub();
  private final List<String> progress = Collections.synchronizedList(new ArrayList<>());
  private Path repo;

  @BeforeEach
  void put_a_model_on_the_hub() {
    repo = home.resolve("hub/models--org--name");
    byte[] data = new byte[40_000];
    new Random(1).nextBytes(data);
    hub.files.put(
        "model.safetensors",
        RawSafetensors.bytes(
            "{\"t\":{\"dtype\":\"U8\",\"shape\":[40000],\"data_offsets\":[0,40000]}}", data));
    hub.put("config.json", "{\"model_type\":\"llama\"}");
    hub.put("tokenizer.json", "{}");
    hub.put("tokenizer_config.json", "{\"a\":1}");
    hub.put("chat_template.jinja", "{{ x }}");
    hub.put("README.md", "# model");
    hub.put("pytorch_model.bin", "pickle");
    hub.put("modeling_own.py", "import os");
    hub.put("onnx/model.onnx", "onnx");
  }

  @AfterEach
  void stop_the_hub() {
    hub.close();
  }

  private HubSnapshot model(String... environment) {
    return model(hub.settings(home, environment), null);
  }

  private static HubSnapshot model(HubSettings settings, @Nullable String revision) {
    return new HubSnapshot(
        settings, "org/name", revision, "hub:org/name", new HubModel("hub:org/name"));
  }

  private Path fetch(String... environment) {
    return model(environment).fetch(progress::add);
  }

  private void refused(String message) {
    assertThatThrownBy(this::fetch).isInstanceOf(CheckpointException.class).hasMessage(message);
  }

  private void answers(String pathEnd, Answer... answers) {
    hub.first.put(pathEnd, new ArrayDeque<>(List.of(answers)));
  }

  private byte[] weights() {
    return hub.content("model.safetensors");
  }

  private Path blob() {
    return repo.resolve("blobs").resolve(FakeHub.sha256(weights()));
  }

  private Path incomplete() {
    return blob().resolveSibling(blob().getFileName() + ".incomplete");
  }

  private static List<String> names(Path folder) throws IOException {
    try (Stream<Path> files = Files.list(folder)) {
      return files.map(file -> file.getFileName().toString()).sorted().toList();
    }
  }

  @Test
  void a_model_is_fetched_into_the_cache_layout_that_others_share() throws IOException {
    Path snapshot = fetch();

    assertThat(snapshot).isEqualTo(repo.resolve("snapshots").resolve(FakeHub.COMMIT));
    assertThat(names(snapshot))
        .containsExactly(
            "chat_template.jinja",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json");
    assertThat(repo.resolve("refs/main")).hasContent(FakeHub.COMMIT);
    assertThat(Files.readSymbolicLink(snapshot.resolve("model.safetensors")))
        .isEqualTo(Path.of("../../blobs", FakeHub.sha256(weights())));
    assertThat(Files.readSymbolicLink(snapshot.resolve("config.json")))
        .isEqualTo(Path.of("../../blobs", FakeHub.digest("SHA-1", hub.content("config.json"))));
    assertThat(names(repo.resolve("blobs"))).hasSize(5).noneMatch(name -> name.contains("."));
    try (var file = TensorFile.open(snapshot)) {
      assertThat(file.entries()).containsOnlyKeys("t");
    }
  }

  @Test
  void what_is_in_the_cache_is_not_fetched_again() {
    fetch();
    hub.requests.clear();

    Path snapshot = fetch();

    assertThat(hub.requests)
        .extracting(FakeHub.Request::line)
        .containsExactly("hub GET /api/models/org/name/revision/main");
    assertThat(snapshot).isDirectory();
  }

  @Test
  void a_blob_that_is_there_under_another_commit_is_only_linked() throws IOException {
    Path snapshot = fetch();
    Files.delete(snapshot.resolve("model.safetensors"));
    hub.requests.clear();

    fetch();

    assertThat(snapshot.resolve("model.safetensors")).hasBinaryContent(weights());
    assertThat(hub.count(WEIGHTS)).isZero();
  }

  @Test
  void a_link_whose_content_was_deleted_is_mended() throws IOException {
    Path snapshot = fetch();
    Files.delete(blob());

    fetch();

    assertThat(snapshot.resolve("model.safetensors")).hasBinaryContent(weights());
  }

  @Test
  void the_token_goes_to_the_hub_and_to_no_other_host() {
    fetch("HF_TOKEN", "hf_secret");

    assertThat(hub.requests)
        .filteredOn(request -> request.server().equals("hub"))
        .isNotEmpty()
        .allMatch(request -> request.token().equals("Bearer hf_secret"));
    assertThat(hub.requests)
        .filteredOn(request -> request.server().equals("cdn"))
        .isNotEmpty()
        .allMatch(request -> request.token().equals("null"));
  }

  @Test
  void a_cut_transfer_goes_on_from_where_it_was_cut() {
    hub.cuts.addAll(List.of(10_000, 5_000));

    Path snapshot = fetch();

    assertThat(snapshot.resolve("model.safetensors")).hasBinaryContent(weights());
    assertThat(hub.requests)
        .filteredOn(request -> request.line().equals(WEIGHTS))
        .extracting(FakeHub.Request::range)
        .containsExactly("null", "bytes=10000-", "bytes=15000-");
    assertThat(incomplete()).doesNotExist();
    assertThat(progress)
        .anyMatch(line -> line.startsWith("model.safetensors: the transfer broke off at 10.0 kB"));
  }

  @Test
  void a_server_that_ignores_ranges_is_read_from_the_beginning() {
    hub.cuts.add(10_000);
    hub.ignoresRanges = true;

    Path snapshot = fetch();

    assertThat(snapshot.resolve("model.safetensors")).hasBinaryContent(weights());
    assertThat(hub.count(WEIGHTS)).isEqualTo(2);
  }

  @Test
  void what_an_earlier_process_left_is_gone_on_with() throws IOException {
    Files.createDirectories(incomplete().getParent());
    Files.write(incomplete(), Arrays.copyOf(weights(), 30_000));

    Path snapshot = fetch();

    assertThat(snapshot.resolve("model.safetensors")).hasBinaryContent(weights());
    assertThat(hub.requests).extracting(FakeHub.Request::range).contains("bytes=30000-");
  }

  @Test
  void what_an_earlier_process_left_wrong_is_thrown_away() throws IOException {
    Files.createDirectories(incomplete().getParent());
    Files.write(incomplete(), new byte[30_000]);

    Path snapshot = fetch();

    assertThat(snapshot.resolve("model.safetensors")).hasBinaryContent(weights());
    assertThat(progress)
        .contains("model.safetensors: what was there of it is wrong, starting over");
  }

  @Test
  void what_an_earlier_process_left_too_long_is_thrown_away() throws IOException {
    Files.createDirectories(incomplete().getParent());
    Files.write(incomplete(), new byte[90_000]);

    Path snapshot = fetch();

    assertThat(snapshot.resolve("model.safetensors")).hasBinaryContent(weights());
  }

  @Test
  void a_transfer_that_is_cut_again_and_again_is_given_up_and_kept() throws IOException {
    hub.cuts.addAll(Collections.nCopies(20, 100));

    assertThatThrownBy(this::fetch)
        .isInstanceOf(CheckpointException.class)
        .hasMessageMatching(
            "model.safetensors could not be fetched: the transfer broke off 5 times, last at 500"
                + " bytes \\(.+\\); what has come is kept, the same command goes on from there");

    assertThat(hub.count(WEIGHTS)).isEqualTo(5);
    assertThat(Files.size(incomplete())).isEqualTo(500);
    assertThat(repo.resolve("refs/main")).doesNotExist();
    hub.cuts.clear();
    assertThat(fetch().resolve("model.safetensors")).hasBinaryContent(weights());
  }

  @Test
  void a_transfer_that_stands_still_is_cut_and_gone_on_with() {
    hub.cuts.add(10_000);
    hub.stalls = true;
    var impatient = hub.settings(home).withTimes(Duration.ofMillis(500), Duration.ofMillis(1));

    Path snapshot = model(impatient, null).fetch(progress::add);

    assertThat(snapshot.resolve("model.safetensors")).hasBinaryContent(weights());
    assertThat(progress).anyMatch(line -> line.contains("no byte came for"));
  }

  @Test
  void a_file_of_another_size_than_announced_is_refused() throws IOException {
    hub.announcedTooMany = 7;

    refused(
        ("model.safetensors of the hub came with %d bytes, but %d were announced;"
                + " something on the way alters it, look at your proxy or try again later")
            .formatted(weights().length, weights().length + 7));

    assertThat(names(repo.resolve("blobs")))
        .noneMatch(name -> name.startsWith(blob().getFileName().toString()));
  }

  @Test
  void a_file_of_another_content_than_announced_is_refused() throws IOException {
    hub.corrupts = true;

    assertThatThrownBy(this::fetch)
        .isInstanceOf(CheckpointException.class)
        .hasMessageMatching(
            "model.safetensors of the hub came with the SHA-256 [0-9a-f]{64}, but "
                + FakeHub.sha256(weights())
                + " was announced; something on the way alters it, look at your proxy or try again"
                + " later");

    assertThat(names(repo.resolve("blobs")))
        .noneMatch(name -> name.startsWith(blob().getFileName().toString()));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          401 | ''             | ''   | either there is no such repository, or it is private or gated and no token was sent; check the name, or set HF_TOKEN to a token that may read it
          401 | RepoNotFound   | hf_x | either there is no such repository, or the token is not valid or may not read it; check the name and the token (HF_TOKEN, or the file that hf auth login wrote)
          403 | GatedRepo      | hf_x | access must be asked for: open HUB/org/name in a browser, agree to its terms, and set HF_TOKEN to a token of that account
          403 | ''             | hf_x | the token may not read it; access must be asked for: open HUB/org/name in a browser, agree to its terms, and set HF_TOKEN to a token of that account
          404 | RevisionNotFound | '' | there is no revision main; look at HUB/org/name/tree/main for those there are
          404 | RepoNotFound   | ''   | there is no such repository or revision; check the name
          418 | ''             | ''   | that was not expected; look at HF_ENDPOINT and at your network
          """)
  void a_refusal_says_what_to_do(int status, String code, String token, String hint) {
    answers("/revision/main", new Answer(status, Map.of("X-Error-Code", code)));

    assertThatThrownBy(() -> fetch("HF_TOKEN", token))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            "hub:org/name: %s answers %d for the revision main: %s"
                .formatted(hub.endpoint(), status, hint.replace("HUB", hub.endpoint())));
    assertThat(hub.requests).hasSize(1);
  }

  @Test
  void a_hub_that_is_busy_for_a_while_is_asked_again() {
    var busy = new Answer(429, Map.of("Retry-After", "0"));
    answers("/revision/main", busy, new Answer(503, Map.of()));
    answers("/config.json", busy);
    answers("/model.safetensors", new Answer(500, Map.of()), new Answer(502, Map.of()));

    Path snapshot = fetch();

    assertThat(snapshot.resolve("model.safetensors")).hasBinaryContent(weights());
  }

  @Test
  void a_hub_that_stays_out_of_order_is_given_up() {
    answers(
        "/revision/main", Collections.nCopies(9, new Answer(503, Map.of())).toArray(Answer[]::new));

    refused(
        ("hub:org/name: %s was not reached (%s answers 503 (it is out of order)) and the"
                + " cache %s does not have the model; look at your network, name a mirror in"
                + " HF_ENDPOINT or a proxy in HTTPS_PROXY")
            .formatted(hub.endpoint(), hub.endpoint(), home.resolve("hub")));

    assertThat(hub.requests).hasSize(5);
  }

  @Test
  void a_hub_that_is_not_reached_is_named_with_the_ways_around_it() {
    hub.close();

    refused(
        ("hub:org/name: %s was not reached (no connection) and the cache %s does not have"
                + " the model; look at your network, name a mirror in HF_ENDPOINT or a proxy in"
                + " HTTPS_PROXY")
            .formatted(hub.endpoint(), home.resolve("hub")));
  }

  @Test
  void what_is_in_the_cache_is_used_when_the_hub_is_not_reached() {
    Path snapshot = fetch();
    hub.close();
    progress.clear();

    assertThat(fetch()).isEqualTo(snapshot);
    assertThat(progress)
        .containsExactly(
            "%s was not reached (no connection); using the copy of %s in the cache"
                .formatted(hub.endpoint(), FakeHub.COMMIT));
  }

  @Test
  void offline_nothing_is_asked_of_the_network() {
    Path snapshot = fetch();
    hub.requests.clear();

    assertThat(fetch("HF_HUB_OFFLINE", "1")).isEqualTo(snapshot);
    assertThat(hub.requests).isEmpty();
  }

  @Test
  void offline_a_model_that_is_not_whole_in_the_cache_is_refused() throws IOException {
    String message =
        ("hub:org/name is not whole in the cache %s, and HF_HUB_OFFLINE forbids to fetch"
                + " it; unset that, or copy the cache from a machine that has it")
            .formatted(home.resolve("hub"));

    assertThatThrownBy(() -> fetch("HF_HUB_OFFLINE", "yes"))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(message);

    Path snapshot = fetch();
    Files.delete(snapshot.resolve("model.safetensors"));
    assertThatThrownBy(() -> fetch("HF_HUB_OFFLINE", "yes"))
        .isInstanceOf(CheckpointException.class)
        .hasMessage(message);
  }

  @Test
  void a_commit_that_is_whole_in_the_cache_needs_no_hub() {
    var commit = model(hub.settings(home), FakeHub.COMMIT);
    Path snapshot = commit.fetch(progress::add);
    hub.requests.clear();

    assertThat(commit.fetch(progress::add)).isEqualTo(snapshot);
    assertThat(hub.requests).isEmpty();
    assertThat(repo.resolve("refs")).doesNotExist();
  }

  @Test
  void a_branch_with_a_slash_is_asked_for_and_remembered_as_one() {
    model(hub.settings(home), "refs/pr/1").fetch(progress::add);

    assertThat(hub.requests.getFirst().path())
        .isEqualTo("/api/models/org/name/revision/refs%2Fpr%2F1");
    assertThat(repo.resolve("refs/refs/pr/1")).hasContent(FakeHub.COMMIT);
  }

  @Test
  void a_sharded_model_is_fetched_by_its_index() throws IOException {
    byte[] shard = hub.files.remove("model.safetensors");
    hub.files.put("model-00001-of-00001.safetensors", shard);
    hub.files.put("consolidated.safetensors", shard);
    hub.put(
        "model.safetensors.index.json",
        "{\"weight_map\":{\"t\":\"model-00001-of-00001.safetensors\"}}");

    Path snapshot = fetch();

    assertThat(names(snapshot))
        .contains("model-00001-of-00001.safetensors", "model.safetensors.index.json")
        .doesNotContain("consolidated.safetensors");
    hub.close();
    assertThat(fetch("HF_HUB_OFFLINE", "1")).isEqualTo(snapshot);
    Files.delete(snapshot.resolve("model-00001-of-00001.safetensors"));
    assertThatThrownBy(() -> fetch("HF_HUB_OFFLINE", "1"))
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith("hub:org/name is not whole in the cache");
  }

  @Test
  void an_index_that_names_a_shard_that_is_not_there_is_refused() {
    hub.files.remove("model.safetensors");
    hub.put("model.safetensors.index.json", "{\"weight_map\":{\"t\":\"gone.safetensors\"}}");

    refused(
        "hub:org/name: its index names the shard gone.safetensors, which the repository does not"
            + " have; name another revision");
  }

  @Test
  void an_adapter_is_fetched_too() throws IOException {
    hub.files.put("adapter_model.safetensors", hub.files.remove("model.safetensors"));
    hub.put("adapter_config.json", "{}");

    assertThat(names(fetch())).contains("adapter_config.json", "adapter_model.safetensors");
  }

  @Test
  void a_repository_of_pickles_is_refused_with_the_way_to_convert_them() {
    hub.files.remove("model.safetensors");

    assertThatThrownBy(this::fetch)
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(
            "hub:org/name: the weights are a pickle (pytorch_model.bin), and loading a pickle can"
                + " run");
    assertThat(hub.requests).noneMatch(request -> request.path().endsWith("pytorch_model.bin"));
  }

  @Test
  void a_repository_without_weights_or_with_gguf_only_is_refused() {
    hub.files.remove("model.safetensors");
    hub.files.remove("pytorch_model.bin");
    refused(
        "hub:org/name: the repository has no safetensors file in its top folder, so there are no"
            + " weights to read; name another repository or revision");

    hub.put("name.Q4_0.gguf", "GGUF");
    refused(
        "hub:org/name: the repository has GGUF files only; download the one you want"
            + " (name.Q4_0.gguf) and name it by its path");
  }

  @ParameterizedTest
  @CsvSource({
    "../evil.safetensors",
    "/etc/config.json",
    "a/../../config.json",
    "..\\\\config.json"
  })
  void a_name_that_leads_out_of_the_folder_is_refused(String name) {
    hub.listing =
        "{\"sha\":\"%s\",\"siblings\":[{\"rfilename\":\"%s\"}]}".formatted(FakeHub.COMMIT, name);

    assertThatThrownBy(this::fetch)
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(
            "hub:org/name: %s does not behave like a hub: it lists a file '"
                .formatted(hub.endpoint()))
        .hasMessageEndingWith(
            "', which would lie outside of the folder; look at HF_ENDPOINT and at your network");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          <html> | its list of files is not valid JSON
          {"sha":"../../x","siblings":[]} | its list of files names no commit
          {"siblings":[]} | its list of files names no commit
          """)
  void a_server_that_is_no_hub_is_recognised(String body, String problem) {
    hub.listing = body;

    assertThatThrownBy(this::fetch)
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(
            "hub:org/name: %s does not behave like a hub: %s".formatted(hub.endpoint(), problem));
  }

  @Test
  void an_etag_that_would_be_a_path_is_refused() {
    answers("/config.json", new Answer(200, Map.of("ETag", "\"../../evil\"")));

    refused(
        ("hub:org/name: %s does not behave like a hub: it gives no usable ETag for"
                + " config.json; look at HF_ENDPOINT and at your network")
            .formatted(hub.endpoint()));
  }

  @Test
  void a_repository_that_was_renamed_is_followed_within_the_hub() {
    answers(
        "/revision/main",
        new Answer(307, Map.of("Location", "/api/models/new/name/revision/main2")));
    answers(
        "/org/name/resolve/" + FakeHub.COMMIT + "/config.json",
        new Answer(307, Map.of("Location", "/new/name/resolve/" + FakeHub.COMMIT + "/config.json")),
        new Answer(
            307, Map.of("Location", "/new/name/resolve/" + FakeHub.COMMIT + "/config.json")));

    Path snapshot = fetch();

    assertThat(snapshot.resolve("config.json")).hasContent("{\"model_type\":\"llama\"}");
  }

  @Test
  void a_circle_of_redirects_is_left() {
    Answer circle = new Answer(302, Map.of("Location", "/api/models/org/name/revision/main"));
    answers("/revision/main", Collections.nCopies(30, circle).toArray(Answer[]::new));

    refused(
        ("%s/api/models/org/name/revision/main was passed on 10 times; look at your"
                + " network or at HF_ENDPOINT")
            .formatted(hub.endpoint()));
  }

  @Test
  void without_links_the_content_itself_stands_in_the_snapshot() throws IOException {
    Path snapshot = fetch("HF_HUB_DISABLE_SYMLINKS", "1");

    assertThat(snapshot.resolve("model.safetensors")).hasBinaryContent(weights());
    assertThat(Files.isSymbolicLink(snapshot.resolve("model.safetensors"))).isFalse();
    assertThat(names(repo.resolve("blobs"))).isEmpty();
    hub.requests.clear();
    fetch("HF_HUB_DISABLE_SYMLINKS", "1");
    assertThat(hub.requests).hasSize(1);
  }

  @Test
  void threads_that_want_the_same_model_fetch_it_once() throws Exception {
    try (var threads = Executors.newFixedThreadPool(4)) {
      var paths = threads.invokeAll(Collections.<Callable<Path>>nCopies(4, this::fetch));
      for (var path : paths) {
        assertThat(path.get().resolve("model.safetensors")).hasBinaryContent(weights());
      }
    }

    assertThat(hub.count(WEIGHTS)).isEqualTo(1);
  }

  @Test
  void large_files_tell_how_far_they_are() {
    byte[] data = new byte[20_000_000];
    hub.files.put(
        "model.safetensors",
        RawSafetensors.bytes(
            "{\"t\":{\"dtype\":\"U8\",\"shape\":[20000000],\"data_offsets\":[0,20000000]}}", data));

    fetch();

    assertThat(progress)
        .contains(
            "fetching model.safetensors of hub:org/name, 20.0 MB",
            "model.safetensors: 50 % of 20.0 MB",
            "model.safetensors: 100 % of 20.0 MB");
    assertThat(String.join("", progress).getBytes(UTF_8).length).isLessThan(3000);
  }

  @Test
  void a_file_that_does_not_fit_on_the_disk_is_not_begun() {
    answers(
        "/model.safetensors",
        new Answer(
            200,
            Map.of(
                "X-Linked-Etag", "\"abc\"", "X-Linked-Size", String.valueOf(Long.MAX_VALUE / 2))));

    assertThatThrownBy(this::fetch)
        .isInstanceOf(CheckpointException.class)
        .hasMessageMatching(
            "model.safetensors needs .+ more in .+, but .+ are free; make room, or name another"
                + " folder in HF_HOME");
    assertThat(hub.count(WEIGHTS)).isZero();
  }

  @Test
  void a_file_that_comes_compressed_is_refused() {
    answers(
        "/config.json",
        new Answer(200, Map.of("ETag", "abc")),
        new Answer(200, Map.of("Content-Encoding", "gzip")));

    refused("config.json comes compressed (gzip), which was not asked for; look at your proxy");
  }
}
