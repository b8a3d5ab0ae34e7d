"""Unusable training samples: listed, reported once per reason, and limited in number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videozoo.engine.distributed import World
from videozoo.engine.fetch import Bad
from videozoo.engine.run_files import RunFiles
from videozoo.errors import TrainingError
from videozoo.report.evaluation import by_reason

__all__ = ["BadSamples"]


class BadSamples:
    """The unusable samples of all processes, with the reasons.

    Args:
        num_samples: size of the data set.
        max_share: largest share of bad samples; above it the run stops.
    """

    def __init__(self, files: RunFiles, *, world: World, num_samples: int, max_share: float):
        self.reasons: dict[str, str] = {}  # by id
        self._files, self._world = files, world
        self._num_samples, self._max_share = num_samples, max_share
        self._new: list[Bad] = []

    def __len__(self) -> int:
        return len(self.reasons)

    def note(self, micro_batches: Sequence[Mapping[str, Any]]) -> None:
        """Records this process's bad samples of one step."""
        for batch in micro_batches:
            self._new += batch.get("bad", ())

    def restore(self, reasons: Mapping[str, str]) -> None:
        """Restores the list from a checkpoint."""
        self.reasons = dict(reasons)

    def write(self) -> None:
        """Writes the list."""
        self._files.write_bad(self.reasons.items())

    def settle(self, step: int) -> list[str]:
        """Merges the bad samples of all processes, writes the list, and returns one line for each new reason.

        Raises:
            TrainingError: more than `max_share` of the samples are bad.
        """
        gathered = [bad for part in self._world.gather(self._new) for bad in part]
        found = {id_: why for id_, why in gathered if id_ not in self.reasons}
        self._new = []
        if not found:
            return []
        known = set(self.reasons.values())
        self.reasons |= found
        self.write()
        self._check_share(step)
        return [
            f"replaced an unusable sample: {why}{f' ({len(ids)} samples)' * (len(ids) > 1)}"
            for why, ids in by_reason(found.items()).items()
            if why not in known
        ]

    def _check_share(self, step: int) -> None:
        if len(self) > self._max_share * self._num_samples:
            some = "; ".join(list(dict.fromkeys(self.reasons.values()))[:3])
            raise TrainingError(
                f"step {step}: {len(self)} of {self._num_samples} training samples cannot be used, more than "
                f"fit.max_bad_share {self._max_share:g}; {self._files.bad_list} lists them ({some})"
            )
