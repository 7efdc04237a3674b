package espalier.checkpoints;

import tools.jackson.core.JsonParser;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.StreamReadFeature;
import tools.jackson.core.TokenStreamFactory;
import tools.jackson.core.json.JsonFactory;
import tools.jackson.databind.DeserializationFeature;
import tools.jackson.databind.json.JsonMapper;

/** JSON from strangers: no key twice, no depth that eats the stack, no trailing text. */
final class StrictJson {

  private static final JsonFactory FACTORY =
      JsonFactory.builder()
          // Keys are tensor names, all different: a table of them only costs, and can be attacked.
          .disable(TokenStreamFactory.Feature.CANONICALIZE_PROPERTY_NAMES)
          .streamReadConstraints(
              StreamReadConstraints.builder()
                  .maxNestingDepth(64)
                  .maxStringLength((int) SafetensorsHeader.MAX_LENGTH)
                  .maxDocumentLength(SafetensorsHeader.MAX_LENGTH)
                  .build())
          .build();

  /** For whole documents as trees. */
  static final JsonMapper MAPPER =
      JsonMapper.builder(
              FACTORY.rebuild().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build())
          .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
          .build();

  private StrictJson() {}

  /** For reading token by token; refusing keys that come twice is then the caller's part. */
  static JsonParser parser(String json) {
    return FACTORY.createParser(ObjectReadContext.empty(), json);
  }
}
