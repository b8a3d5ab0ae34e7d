"""Mixed precision: its kinds, and the context in which a model computes."""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import Any, get_args

import torch

from videozoo.contracts.backend import Precision
from videozoo.errors import ConfigError, did_you_mean

__all__ = ["PRECISIONS", "Precision", "autocast", "check_precision"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

log = logging.getLogger(__name__)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """Returns a context that computes in `precision` where torch considers it safe; "fp32" changes nothing."""
    if precision == "fp32":
        return contextlib.nullcontext()
    if device.type == "cpu" and not _is_native(precision):
        _note_slow(precision)
    return torch.autocast(device.type, dtype=DTYPES[precision])


def check_precision(precision: str) -> None:
    """
    Raises:
        ConfigError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision: there is no '{precision}'{did_you_mean(precision, PRECISIONS)}")


def _is_native(precision: str) -> bool:
    """Returns whether torch has fast kernels of this precision for the processor."""
    if not torch.backends.mkldnn.is_available():
        return False
    kernels = torch.ops.mkldnn
    supported = kernels._is_mkldnn_bf16_supported if precision == "bf16" else kernels._is_mkldnn_fp16_supported
    return bool(supported()) and not (precision == "bf16" and _is_emulated())


def _is_emulated() -> bool:
    """Returns whether torch computes bf16 with the float32 instructions of AVX-512."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    return not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@functools.cache
def _note_slow(precision: str) -> None:
    log.warning(
        "%s: torch has no fast kernels for it on this processor: it may be many times slower than fp32; use it on a "
        "GPU, or on processors with avx512_bf16 or amx",
        precision,
    )
