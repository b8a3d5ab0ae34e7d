"""One choice of the device, and one line where it is not there."""

import pytest
import torch

from videozoo.errors import ConfigError
from videozoo.tasks.device import pick_device


def test_devices_that_are_there():
    assert pick_device("cpu", local_rank=1) == torch.device("cpu")
    assert pick_device("cpu:0").type == "cpu"


@pytest.mark.parametrize(("is_there", "expected"), [(True, "cuda:2"), (False, "cpu")])
def test_auto_is_the_accelerator_or_the_cpu(monkeypatch, is_there, expected):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: is_there)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch, "empty", lambda *args, **given: None)
    assert pick_device("auto", local_rank=2) == torch.device(expected)


@pytest.mark.parametrize("name", ["cuda", "cuda:99", "mps", "xpu", "toaster", "cuda:x", "", "meta"])
def test_devices_that_are_not_there(name):
    if name in ("cuda", "mps", "xpu") and getattr(torch, name).is_available():
        pytest.skip("it is there")
    with pytest.raises(ConfigError, match=r"^fit\.device: .*; write auto") as caught:
        pick_device(name, where="fit.device")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_process_takes_the_gpu_of_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *args, **given: None)
    assert pick_device("cuda", local_rank=3) == torch.device("cuda:3")
    assert pick_device("cuda:1", local_rank=3) == torch.device("cuda:1")
    assert pick_device("cuda") == torch.device("cuda")
