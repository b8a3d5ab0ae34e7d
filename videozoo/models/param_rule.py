"""The learning rate and weight decay of some of a model's parameters."""

from __future__ import annotations

import dataclasses

__all__ = ["ParamRule", "layer_decay"]


@dataclasses.dataclass(frozen=True)
class ParamRule:
    """Learning rate (times `lr_scale`) and weight decay of the parameters whose names match `match` (`re.search`).

    `lr_scale=0` freezes parameters: no gradient is computed for them. `weight_decay=None` keeps the optimizer's value.
    The first rule that matches a name wins.
    """

    match: str
    lr_scale: float = 1.0
    weight_decay: float | None = None


def layer_decay(rate: float, depth: int, *, first: str) -> tuple[ParamRule, ...]:
    """Returns rules that multiply the learning rate by `rate` once for each block from the end to a parameter's.

    Args:
        depth: number of blocks, named "blocks.0", "blocks.1" and so on.
        first: pattern of the parameters before the first block.
    """
    if rate == 1:
        return ()
    blocks = [ParamRule(rf"^blocks\.{i}\.", lr_scale=rate ** (depth - i)) for i in range(depth)]
    return (ParamRule(first, lr_scale=rate ** (depth + 1)), *blocks)
