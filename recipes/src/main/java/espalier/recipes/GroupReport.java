package espalier.recipes;

import espalier.training.ParameterGroup;
import java.util.List;
import tools.jackson.databind.json.JsonMapper;
import tools.jackson.databind.node.ArrayNode;
import tools.jackson.databind.node.ObjectNode;

/** What each group of an optimizer trains, with which learning rate and decay. */
final class GroupReport {

  private GroupReport() {}

  /** A line a group. */
  static List<String> lines(List<ParameterGroup> groups) {
    return groups.stream()
        .map(
            group ->
                "group %s: %d tensors, learning rate %s, weight decay %s"
                    .formatted(
                        group.name(),
                        group.parameters().size(),
                        group.learningRate(),
                        group.weightDecay()))
        .toList();
  }

  /** All groups with the names of their parameters, as JSON. */
  static String json(List<ParameterGroup> groups) {
    ArrayNode out = JsonMapper.shared().createArrayNode();
    for (ParameterGroup group : groups) {
      ObjectNode node = out.addObject();
      node.put("group", group.name());
      node.put("learning_rate", group.learningRate());
      node.put("weight_decay", group.weightDecay());
      group.parameters().keySet().forEach(node.putArray("parameters")::add);
    }
    return out.toPrettyString() + "\n";
  }
}
