"""What a part refuses is told in one line, with the place in the recipe."""

from __future__ import annotations

import pytest
from torch import nn

from videozoo.config.check import build
from videozoo.errors import ConfigError, DataError
from videozoo.models import create_model


def test_a_value_that_a_library_refuses():
    refused = r"^model x: a value does not fit \(dropout probability .* got -1\.0\); correct it$"
    with pytest.raises(ConfigError, match=refused):
        build(nn.Dropout, {"p": -1.0}, where="model x")
    small = {"backbone_args": {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}, "crop_px": 16}
    with pytest.raises(ConfigError, match=r"^model timesformer: a value does not fit .*std"):
        create_model("timesformer", position_std=-1.0, **small)


def test_our_own_errors_stay_as_they_are():
    def part(*, path: str) -> None:
        raise DataError(f"{path}: is empty")

    with pytest.raises(DataError, match=r"^a\.txt: is empty$"):
        build(part, {"path": "a.txt"}, where="data.train")
