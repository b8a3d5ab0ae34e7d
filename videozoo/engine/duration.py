"""The length of a run in optimizer steps."""

from __future__ import annotations

import dataclasses

from videozoo.config.duration import Duration

__all__ = ["Duration", "Horizon"]


@dataclasses.dataclass(frozen=True)
class Horizon:
    """The length of a run, as learning-rate schedules need it."""

    total_steps: int
    steps_per_epoch: int
    batch_size: int

    def steps(self, duration: Duration) -> int:
        """Returns `duration` in optimizer steps of this run."""
        return duration.steps(steps_per_epoch=self.steps_per_epoch, batch_size=self.batch_size)
