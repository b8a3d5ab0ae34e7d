from __future__ import annotations

import pytest

from videozoo.errors import ConfigError
from videozoo.models import create_model


@pytest.mark.parametrize(
    ("name", "args", "told"),
    [
        ("slowfast", {"alpha": 0}, "model slowfast: a value does not fit"),
        ("slowfast", {"crop_px": 0}, "model slowfast: these arguments give the input shape"),
        ("tsm", {"num_segments": 0}, "model tsm: "),
        ("tsm", {"num_segments": -1}, "model tsm: "),
        ("tsm", {"dropout": float("nan")}, "model tsm.dropout: is nan; needs a finite number"),
        ("videoswin", {"mlp_ratio": float("inf")}, "model videoswin.mlp_ratio: is inf; needs a finite number"),
        ("nextvlad", {"num_groups": 0}, "model nextvlad: a value does not fit"),
    ],
)
def test_values_that_no_model_can_have(name, args, told):
    with pytest.raises(ConfigError) as error:
        create_model(name, **args)
    assert str(error.value).startswith(told)
