from __future__ import annotations

from tests.contract.tiny import TINY
from videozoo.models import create_model
from videozoo.models.profile import profile


def test_a_model_whose_batch_norms_refuse_one_value():
    found = profile(create_model("nextvlad", **TINY["nextvlad"]))
    assert found.saved_bytes > 0 and found.flops > 0


def test_a_container_counts_what_is_in_it():
    found = profile(create_model("slowfast", **TINY["slowfast"]))
    flops = {layer.name: layer.flops for layer in found.layers}
    assert flops["slow_stages"] == sum(flops[f"slow_stages.{stage}"] for stage in range(4)) > 0
    assert sum(flops[name] for name in flops if "." not in name) == found.flops
