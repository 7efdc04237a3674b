package espalier.checkpoints;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import org.bytedeco.javacpp.PointerScope;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ShardedSafetensorsTest {

  private static final String FIRST = "model-00001-of-00002.safetensors";
  private static final String SECOND = "model-00002-of-00002.safetensors";

  @TempDir Path folder;
  private Path index;

  @BeforeEach
  void write_two_shards() {
    index = folder.resolve("model.safetensors.index.json");
    shard(FIRST, "a", 1);
    shard(SECOND, "b", 2);
  }

  private void shard(String name, String tensor, float value) {
    String header =
        ("{\"__metadata__\":{\"shard\":\"%s\"},"
                + "\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}")
            .formatted(tensor, tensor);
    RawSafetensors.write(folder, name, RawSafetensors.bytes(header, RawSafetensors.floats(value)));
  }

  private void index(String weightMap) throws Exception {
    Files.writeString(index, "{\"metadata\":{\"total_size\":8},\"weight_map\":" + weightMap + "}");
  }

  private void refused(String problem) {
    assertThatThrownBy(() -> TensorFile.open(folder).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessage(index + ": " + problem);
  }

  @Test
  void shards_read_as_one_file() throws Exception {
    index("{\"b\":\"%s\",\"a\":\"%s\"}".formatted(SECOND, FIRST));

    try (var _ = new PointerScope();
        var file = TensorFile.open(folder)) {
      assertThat(file.entries()).containsOnlyKeys("a", "b");
      assertThat(file.tensor("a").item_float()).isEqualTo(1);
      assertThat(file.tensor("b").item_float()).isEqualTo(2);
      assertThat(file.metadata()).containsEntry("shard", "a");
      assertThat(file.path()).isEqualTo(index);
    }
  }

  @Test
  void what_the_index_does_not_name_is_no_part_of_the_model() throws Exception {
    index("{\"b\":\"%s\"}".formatted(SECOND));

    try (var file = TensorFile.open(folder)) {
      assertThat(file.entries()).containsOnlyKeys("b");
      assertThatThrownBy(() -> file.tensor("a"))
          .isInstanceOf(CheckpointException.class)
          .hasMessage(index + ": there is no tensor a; nearest of its 1 is b");
    }
  }

  @Test
  void missing_shards_are_all_named() throws Exception {
    index("{\"a\":\"%s\",\"b\":\"%s\",\"c\":\"third.safetensors\"}".formatted(FIRST, SECOND));
    Files.delete(folder.resolve(FIRST));

    refused(
        "2 of 3 shards are missing: "
            + FIRST
            + ", third.safetensors; download the model again, or copy them beside the index");
  }

  @Test
  void a_tensor_that_is_not_where_the_index_says_is_refused() throws Exception {
    index("{\"a\":\"%s\"}".formatted(SECOND));

    refused(
        "a is to be in " + SECOND + " but is not; the index and the shards are not of one model");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "../other.safetensors",
        "/etc/x.safetensors",
        "sub/x.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
        "..",
        "",
        "config.json"
      })
  void a_shard_outside_of_the_folder_or_of_another_kind_is_refused(String shard) throws Exception {
    index("{\"a\":\"%s\"}".formatted(shard.replace("\\", "\\\\")));

    refused(
        "weight_map.a is '"
            + shard
            + "' but a shard is a safetensors file right beside the index; do not use this model"
            + " unless you know why");
  }

  @Test
  void an_index_that_makes_no_sense_is_refused() throws Exception {
    index("{\"a\":7}");
    refused("weight_map.a is 7 but must be the name of a shard");

    index("{}");
    refused("weight_map, from tensor to shard, is missing or empty; download the index again");

    Files.writeString(index, "[1,2]");
    refused("weight_map, from tensor to shard, is missing or empty; download the index again");
  }

  @Test
  void an_index_that_names_a_tensor_twice_or_is_no_json_is_refused() throws Exception {
    index("{\"a\":\"%s\",\"a\":\"%s\"}".formatted(FIRST, SECOND));
    assertThatThrownBy(() -> TensorFile.open(folder).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(index + ": the index is not valid JSON: Duplicate");

    Files.writeString(index, "{\"weight_map\":{\"a\":");
    assertThatThrownBy(() -> TensorFile.open(folder).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(index + ": the index is not valid JSON: Unexpected end-of-input");
  }

  @Test
  void a_broken_shard_is_named_itself() throws Exception {
    index("{\"a\":\"%s\",\"b\":\"%s\"}".formatted(FIRST, SECOND));
    Path broken = folder.resolve(SECOND);
    Files.write(broken, new byte[3]);

    assertThatThrownBy(() -> TensorFile.open(folder).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessageStartingWith(broken + ": the file has 3 bytes");
  }

  @Test
  void a_single_file_is_preferred_to_an_index() throws Exception {
    index("{\"a\":\"gone.safetensors\"}");
    shard("model.safetensors", "whole", 3);

    try (var file = TensorFile.open(folder)) {
      assertThat(file.entries()).containsOnlyKeys("whole");
    }
  }

  @Test
  void an_adapter_folder_is_opened_by_its_own_name() throws Exception {
    shard("adapter_model.safetensors", "lora", 3);

    try (var file = TensorFile.open(folder)) {
      assertThat(file.entries()).containsOnlyKeys("lora");
    }
  }

  @Test
  void a_file_of_another_name_is_opened_if_it_is_the_only_one() throws Exception {
    Files.delete(folder.resolve(SECOND));

    try (var file = TensorFile.open(folder)) {
      assertThat(file.entries()).containsOnlyKeys("a");
    }
  }

  @Test
  void several_files_without_an_index_are_refused() {
    assertThatThrownBy(() -> TensorFile.open(folder).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            folder
                + ": there are 2 safetensors files here but no model.safetensors.index.json to join"
                + " them; get the index, or name one file");
  }

  @Test
  void a_folder_without_weights_is_refused() throws Exception {
    Path empty = Files.createDirectory(folder.resolve("empty"));

    assertThatThrownBy(() -> TensorFile.open(empty).close())
        .isInstanceOf(CheckpointException.class)
        .hasMessage(
            empty
                + ": there are no weights here: neither model.safetensors, nor"
                + " model.safetensors.index.json with its shards, nor adapter_model.safetensors;"
                + " check the path, or download the model again");
  }
}
