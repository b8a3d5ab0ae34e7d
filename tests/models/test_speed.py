"""Times of models: what is measured, and what is told where it cannot be."""

from __future__ import annotations

import pytest
import torch

from tests.models.test_tsn import narrow
from videozoo.errors import ConfigError
from videozoo.models.speed import time_model


def test_each_mode_is_measured_in_its_form_and_a_failure_is_told():
    seen = []

    def note(module, args):
        if args[0].device.type == "cpu":  # not in the pass that finds the norms to fold
            is_last = module.weight.is_contiguous(memory_format=torch.channels_last)
            seen.append((is_last, torch.is_autocast_enabled("cpu"), module.training))

    def make():
        model = narrow("tsn", num_segments=1)
        model.backbone.conv1.register_forward_pre_hook(note)
        return model

    timings = time_model(make, modes=("eager", "channels_last", "bf16"), batch_size=2, num_steps=2)
    assert [t.mode for t in timings] == ["eager", "channels_last", "bf16"]
    assert all(t.forward_s > 0 and t.step_s > 0 and t.reason is None for t in timings)
    # one pass to warm up, two measured
    assert seen[::3] == [(last, half, train) for last, half in ((0, 0), (1, 0), (1, 1)) for train in (False, True)]


def test_what_fails_has_a_reason_and_what_went_before_is_kept():
    def make():
        model = narrow("tsn", num_segments=1)
        model.head = torch.nn.Sequential(torch.nn.BatchNorm1d(model.num_features), model.head)
        return model

    (timing,) = time_model(make, modes=("eager",), num_steps=1)
    assert timing.forward_s > 0 and timing.step_s is None
    assert timing.reason.startswith("ValueError: Expected more than 1 value per channel when training")


def test_wrong_options():
    with pytest.raises(ConfigError, match="modes: there is no 'fast'; accepted: eager, channels_last, compiled, bf16"):
        time_model(narrow, modes=("fast",))
    with pytest.raises(ConfigError, match="batch_size=0 and num_steps=3 must be at least 1"):
        time_model(narrow, batch_size=0)
    with pytest.raises(ConfigError, match="CPU time cannot measure cuda; leave --cpu-time out"):
        time_model(narrow, cpu_time=True, device="cuda")
