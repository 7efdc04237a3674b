package espalier.adapters.combine;

import espalier.adapters.lora.LoraInit;

/** Which starts take something out of the base. */
final class Residuals {

  private Residuals() {}

  static boolean leftBy(LoraInit init) {
    return switch (init) {
      case LoraInit.Pissa(),
          LoraInit.FastPissa _,
          LoraInit.Olora(),
          LoraInit.Corda _,
          LoraInit.LoraGa _ ->
          true;
      case LoraInit.Uniform(),
          LoraInit.Unset(),
          LoraInit.Gaussian(),
          LoraInit.Orthogonal(),
          LoraInit.Mica(),
          LoraInit.Loftq _,
          LoraInit.Eva _ ->
          false;
    };
  }
}
