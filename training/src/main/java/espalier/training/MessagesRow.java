package espalier.training;

import espalier.text.Message;
import java.util.List;

/**
 * A conversation.
 *
 * @param messages one or more, in their order
 * @param tools descriptions of the functions that the model may call, as parsed from JSON; mostly
 *     none
 */
public record MessagesRow(List<Message> messages, List<Object> tools, RowSource source)
    implements Row {

  public MessagesRow {
    messages = List.copyOf(messages);
    tools = List.copyOf(tools);
  }
}
