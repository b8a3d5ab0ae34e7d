"""Checks that a checkpoint belongs to the run that resumes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videozoo.config.recipe import recipe_of
from videozoo.errors import ConfigError
from videozoo.structured import shown
from videozoo.weights.checkpoint import Checkpoint

__all__ = ["check_same_run", "differences"]

# options that may change when a run resumes: they do not affect its results
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
    """Returns (saved, now) by dotted key for the differences between two records."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in [*saved, *(k for k in now if k not in saved)]:
        a, b = saved.get(key), now.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= {f"{key}.{k}": pair for k, pair in differences(a, b).items()}
        elif a != b:
            found[key] = (a, b)
    return found


def check_same_run(saved: Checkpoint, record: Mapping[str, Any], class_names: Sequence[str]) -> None:
    """Refuses a checkpoint that was written with a different recipe.

    Raises:
        ConfigError: the recipes differ; the message lists the differences.
    """
    found = {key: pair for key, pair in differences(_completed(saved), record).items() if key not in FREE}
    if saved.class_names != tuple(class_names):
        found["class names"] = (list(saved.class_names), list(class_names))
    if found:
        listed = "; ".join(f"{key}: {shown(before)}, {shown(now)}" for key, (before, now) in found.items())
        raise ConfigError(
            f"{saved.path}: was written with a different recipe; differing (saved, now): {listed}; give the same "
            f"recipe and overrides, or start a new run with --init {saved.path}"
        )


def _completed(saved: Checkpoint) -> Mapping[str, Any]:
    """Returns a checkpoint's record with the defaults of options added after it was written."""
    try:
        return {**saved.record, **recipe_of(saved.record, source=str(saved.path)).resolved()}
    except ConfigError:  # an option has been removed since; the comparison reports it
        return saved.record
