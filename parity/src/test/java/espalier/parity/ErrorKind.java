package espalier.parity;

import espalier.adapters.AdapterException;
import espalier.adapters.ConfigException;
import espalier.adapters.NotFiniteException;
import espalier.adapters.StateMismatchException;
import espalier.adapters.TargetException;
import espalier.adapters.UnsupportedAdapterException;
import espalier.checkpoints.CheckpointException;
import org.jspecify.annotations.Nullable;

/** What kind of mistake a refusal tells of. */
enum ErrorKind {
  /** A value or a combination that can be known to be wrong from the config. */
  CONFIG,
  /** Targets that find nothing, or something that can not be adapted. */
  TARGET,
  /** An unknown or duplicate name, or adapters that do not go together. */
  ADAPTER,
  /** The right call at the wrong time. */
  STATE,
  /** A feature that does not exist for this layer. */
  UNSUPPORTED,
  /** A NaN or an infinity. */
  NUMERIC,
  /** Files that do not fit. */
  CHECKPOINT;

  /** The kind of what was thrown, or null if it is a crash and no refusal. */
  static @Nullable ErrorKind of(RuntimeException thrown) {
    return switch (thrown) {
      case ConfigException _ -> CONFIG;
      case TargetException _ -> TARGET;
      case AdapterException _ -> ADAPTER;
      case UnsupportedAdapterException _ -> UNSUPPORTED;
      case NotFiniteException _ -> NUMERIC;
      case StateMismatchException _, CheckpointException _ -> CHECKPOINT;
      case IllegalStateException _ -> STATE;
      default -> null;
    };
  }
}
