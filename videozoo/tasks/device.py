"""The device that a network runs on: one choice for training, evaluation, prediction and measuring."""

from __future__ import annotations

import torch

from videozoo.errors import ConfigError
from videozoo.structured import reason

__all__ = ["pick_device"]


def pick_device(name: str = "auto", *, where: str = "device", local_rank: int | None = None) -> torch.device:
    """Returns the device of that name; "auto" is the accelerator of this machine, else the CPU.

    Args:
        where: begins the error messages.
        local_rank: number of this process on its machine, used as the GPU's number if the name has none.

    Raises:
        ConfigError: this machine has no such usable device.
    """
    if name == "auto":
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        device = found or torch.device("cpu")
    else:
        device = _named(name, where=where)
    if device.type == "cuda" and device.index is None and local_rank is not None:
        device = torch.device("cuda", local_rank)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"{where}: '{device}' cannot be used here ({reason(error)}); write auto or cpu") from error
    return device


def _named(name: str, *, where: str) -> torch.device:
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{where}: there is no device '{name}'; write auto, cpu, cuda, cuda:1 or mps") from error
    module = getattr(torch, device.type, None)  # such as torch.cuda and torch.mps
    if device.type != "cpu" and not (module is not None and module.is_available()):
        raise ConfigError(f"{where}: is '{name}', but torch finds no such device here; write auto or cpu")
    return device
