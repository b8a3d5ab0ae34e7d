"""Lengths of training with their unit, as recipes write them."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, Literal

from pydantic_core import PydanticCustomError, core_schema

from videozoo.errors import ConfigError
from videozoo.structured import shown

__all__ = ["Duration"]

Unit = Literal["ep", "st", "ex"]
_TEXT = re.compile(r"(\d+(?:\.\d*)?(?:e\d+)?)\s*(ep|st|ex)")
FORMS = "write e.g. 50ep (epochs), 3000st (steps) or 2000000ex (examples)"


@dataclasses.dataclass(frozen=True)
class Duration:
    """An amount of training: `50ep` epochs, `3000st` optimizer steps or `2000000ex` examples."""

    amount: float
    unit: Unit = "ep"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount >= 0) or self.unit not in ("ep", "st", "ex"):
            raise ConfigError(f"{shown(str(self))} is not a valid duration; {FORMS}")

    @classmethod
    def parse(cls, value: str | float | Duration) -> Duration:
        """Reads `"50ep"`, `"3000st"`, `"2000000ex"`, or a plain number of epochs.

        Raises:
            ConfigError: the text has a different form.
        """
        if isinstance(value, Duration):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return cls(value)
        found = _TEXT.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise ConfigError(f"{shown(value)} is not a valid duration; {FORMS}")
        return cls(float(found[1]), found[2])  # type: ignore[arg-type]

    def steps(self, *, steps_per_epoch: int, batch_size: int) -> int:
        """Returns the number of optimizer steps, rounded to the nearest; examples are rounded up."""
        if self.unit == "ep":
            return round(self.amount * steps_per_epoch)
        return round(self.amount) if self.unit == "st" else math.ceil(self.amount / batch_size)

    def __str__(self) -> str:
        return f"{self.amount:.15g}{self.unit}"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        def parse(value: Any) -> Duration:
            try:
                return cls.parse(value)
            except ConfigError:
                raise PydanticCustomError(
                    "duration", "should be a duration: 50ep (epochs), 3000st (steps) or 2000000ex (examples)"
                ) from None

        return core_schema.no_info_plain_validator_function(parse)
