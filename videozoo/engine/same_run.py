"""Whether a checkpoint is of the run that is to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videozoo.config.recipe import recipe_of
from videozoo.errors import ConfigError
from videozoo.structured import shown
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["check_same_run", "differences"]

# what may change between a run and its resumption: nothing that it computes depends on these
FREE = {
    "fit.decode_timeout_s",
    "fit.device",
    "fit.eval_batch_size",
    "fit.keep",
    "fit.loggers",
    "fit.max_bad_share",
    "fit.num_workers",
    "fit.parallel",
    "fit.save_every",
    "fit.tensorboard",
    "notes",
}


def differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """(saved, now) by dotted key, of what differs between two records."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*saved, *(k for k in now if k not in saved)]:
        a, b = saved.get(key), now.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= {f"{key}.{k}": pair for k, pair in differences(a, b).items()}
        elif a != b:
            found[key] = (a, b)
    return found


def check_same_run(saved: Checkpoint, record: Mapping[str, Any], class_names: Sequence[str]) -> None:
    """Refuses a checkpoint that another recipe wrote.

    Raises:
        ConfigError: it did; the message lists what differs.
    """
    found = {key: pair for key, pair in differences(_completed(saved), record).items() if key not in FREE}
    if saved.class_names != tuple(class_names):
        found["class names"] = (list(saved.class_names), list(class_names))
    if found:
        listed = "; ".join(f"{key}: {shown(before)}, {shown(now)}" for key, (before, now) in found.items())
        raise ConfigError(
            f"{saved.path}: was written by another recipe; differing (saved, now): {listed}; give the same "
            f"recipe and overrides, or start a new run with --init {saved.path}"
        )


def _completed(saved: Checkpoint) -> Mapping[str, Any]:
    """A checkpoint's record, with the defaults of options that have come since it was written."""
    try:
        return {**saved.record, **recipe_of(saved.record, source=str(saved.path)).resolved()}
    except ConfigError:  # one has gone since, and will be named
        return saved.record
