package espalier.models;

import static org.bytedeco.pytorch.global.torch.gelu;
import static org.bytedeco.pytorch.global.torch.relu;
import static org.bytedeco.pytorch.global.torch.silu;

import espalier.nn.SwiGlu;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.jspecify.annotations.Nullable;

/** The activations that the families use. */
enum Activation {
  SILU,
  GELU,
  GELU_TANH,
  RELU,
  QUICK_GELU;

  /** The activation under one of Hugging Face's names, or null. */
  static @Nullable Activation named(String name) {
    return switch (name) {
      case "silu", "swish" -> SILU;
      case "gelu", "gelu_python" -> GELU;
      // three spellings of 0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))
      case "gelu_new", "gelu_pytorch_tanh", "gelu_fast" -> GELU_TANH;
      case "relu" -> RELU;
      case "quick_gelu" -> QUICK_GELU;
      default -> null;
    };
  }

  Tensor of(Tensor x) {
    return switch (this) {
      case SILU -> silu(x);
      case GELU -> gelu(x);
      case GELU_TANH -> gelu(x, "tanh");
      case RELU -> relu(x);
      case QUICK_GELU -> x.mul(x.mul(new Scalar(1.702)).sigmoid());
    };
  }

  /** of(gate) ⊙ up. */
  Tensor gated(Tensor gate, Tensor up) {
    if (this == SILU) {
      return SwiGlu.of(gate, up);
    }
    Tensor activated = of(gate);
    return GradMode.is_enabled() ? activated.mul(up) : activated.mul_(up);
  }
}
