from __future__ import annotations

from tests.contract.tiny import TINY
from videozoo.models import create_model
from videozoo.models.profile import profile


def test_a_model_whose_batch_norms_refuse_one_value():
    found = profile(create_model("nextvlad", **TINY["nextvlad"]))
    assert found.saved_bytes > 0 and found.flops > 0
