"""The learning rate and weight decay of some of a model's parameters."""

from __future__ import annotations

import dataclasses

__all__ = ["ParamRule"]


@dataclasses.dataclass(frozen=True)
class ParamRule:
    """Learning rate (times `lr_scale`) and weight decay of the parameters whose names match `match` (`re.search`).

    `weight_decay=None` keeps the optimizer's value. The first rule that matches a name wins.
    """

    match: str
    lr_scale: float = 1.0
    weight_decay: float | None = None
