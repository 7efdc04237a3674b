package espalier.cli;

import picocli.CommandLine.IVersionProvider;

/** The version as the jar's manifest has it. */
final class Version implements IVersionProvider {

  @Override
  public String[] getVersion() {
    String version = Version.class.getPackage().getImplementationVersion();
    return new String[] {
      "espalier " + (version == null ? "(run from classes)" : version),
      "Java " + Runtime.version() + " on " + System.getProperty("os.name")
    };
  }
}
