"""The learning rate and weight decay of some of a model's parameters."""

from __future__ import annotations

import dataclasses

__all__ = ["ParamRule"]


@dataclasses.dataclass(frozen=True)
class ParamRule:
    """Parameters whose name matches `match` (`re.search`) learn at `lr_scale` times the rate, with their own decay.

    `weight_decay=None` keeps the optimizer's. The first rule that matches a name wins.
    """

    match: str
    lr_scale: float = 1.0
    weight_decay: float | None = None
