from __future__ import annotations

import jaxtyping
import pytest

from tests import shapes

shapes.install()


@pytest.fixture
def unchecked_shapes(monkeypatch):
    """Lets a test give a network tensors of wrong shapes, to see what the network says."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
