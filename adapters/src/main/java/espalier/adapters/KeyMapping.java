package espalier.adapters;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.MatchResult;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Rules that turn the keys of a file into those of a model, written as in Python. */
final class KeyMapping {

  private static final String FIELD = "the key mapping's";
  private static final Pattern GROUP_NAME = Pattern.compile("\\(\\?P<(\\w+)>");
  private static final Pattern REFERENCE = Pattern.compile("\\\\(?:g<(\\w+)>|(\\d{1,2})|(.))");

  /** A piece of a replacement: a text, or what the group of a number matched. */
  private record Piece(String text, int group) {
    String in(MatchResult match) {
      String matched = group < 0 ? text : match.group(group);
      return matched == null ? "" : matched;
    }
  }

  private record Rule(Pattern pattern, List<Piece> pieces) {
    String apply(String key) {
      return pattern.matcher(key).replaceAll(match -> Matcher.quoteReplacement(replacement(match)));
    }

    private String replacement(MatchResult match) {
      var text = new StringBuilder();
      pieces.forEach(piece -> text.append(piece.in(match)));
      return text.toString();
    }
  }

  private final List<Rule> rules = new ArrayList<>();

  /**
   * Compiles rules.
   *
   * @param mapping from regular expressions to replacements, in which {@code \1}, {@code \g<1>} and
   *     {@code \g<name>} stand for groups
   * @throws ConfigException if an expression is none, or a replacement names a group that is not
   *     there
   */
  KeyMapping(Map<String, String> mapping) {
    mapping.forEach(
        (regex, replacement) -> {
          Pattern pattern = PythonRegex.compile(regex, FIELD);
          rules.add(new Rule(pattern, pieces(regex, pattern, replacement)));
        });
  }

  private static List<Piece> pieces(String regex, Pattern pattern, String replacement) {
    var pieces = new ArrayList<Piece>();
    int end = 0;
    for (MatchResult found : REFERENCE.matcher(replacement).results().toList()) {
      pieces.add(new Piece(replacement.substring(end, found.start()), -1));
      end = found.end();
      if (found.group(3) != null) { // a character that stands for itself
        pieces.add(new Piece(found.group(3), -1));
        continue;
      }
      String name = found.group(1) == null ? found.group(2) : found.group(1);
      int group = group(regex, pattern, name);
      if (group < 0) {
        throw new ConfigException(
            "%s replacement \"%s\" names the group %s, which \"%s\" does not have"
                .formatted(FIELD, replacement, name, regex));
      }
      pieces.add(new Piece("", group));
    }
    pieces.add(new Piece(replacement.substring(end), -1));
    return pieces;
  }

  /** The number of a group, or -1. */
  private static int group(String regex, Pattern pattern, String name) {
    if (name.chars().allMatch(Character::isDigit)) {
      int number = Integer.parseInt(name);
      return number <= pattern.matcher("").groupCount() ? number : -1;
    }
    List<String> names = GROUP_NAME.matcher(regex).results().map(r -> r.group(1)).toList();
    return pattern.namedGroups().getOrDefault(PythonRegex.groupName(names.indexOf(name)), -1);
  }

  /** The key that the first rule makes of one that it changes, or the key as it is. */
  String apply(String key) {
    for (Rule rule : rules) {
      String mapped = rule.apply(key);
      if (!mapped.equals(key)) {
        return mapped;
      }
    }
    return key;
  }
}
