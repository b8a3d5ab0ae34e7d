from __future__ import annotations

import pytest

from videozoo.config.duration import Duration
from videozoo.errors import ConfigError


@pytest.mark.parametrize("value", ["-5ep", "5 weeks", "", -5, float("nan"), None])
def test_a_wrong_duration_is_named(value):
    with pytest.raises(
        ConfigError, match=r"^\S.* is not a valid duration; write e\.g\. 50ep \(epochs\), 3000st"
    ) as caught:
        Duration.parse(value)
    assert str(caught.value).startswith(repr(f"{value}ep" if isinstance(value, int | float) else value))
