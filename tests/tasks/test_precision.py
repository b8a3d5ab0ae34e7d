"""Mixed precision: the numbers' format inside the context, and what is said where it is slow."""

from __future__ import annotations

import logging

import pytest
import torch

from videozoo.errors import ConfigError
from videozoo.tasks import precision
from videozoo.tasks.precision import autocast, check_precision

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _fresh() -> None:
    precision._note_slow.cache_clear()


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_products_are_computed_in_it(name: str, dtype: torch.dtype) -> None:
    x = torch.ones(2, 2)
    with autocast(CPU, name):
        assert (x @ x).dtype == dtype
    assert (x @ x).dtype == torch.float32


def test_what_there_is_not() -> None:
    with pytest.raises(ConfigError, match="precision: there is no 'bf61'; did you mean 'bf16'"):
        check_precision("bf61")


def test_what_is_slow_is_named_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_is_native", lambda name: name == "fp16")
    with caplog.at_level(logging.WARNING):
        for name in ("fp32", "fp16", "bf16", "bf16"):
            with autocast(CPU, name):
                pass
    assert [record.getMessage().rpartition(":")[0] for record in caplog.records] == [
        "bf16: torch has no fast kernels for it on this processor"
    ]


def test_what_the_processor_has_is_asked() -> None:
    assert {type(precision._is_native(name)) for name in ("bf16", "fp16")} == {bool}


@pytest.mark.parametrize(("instructions", "expected"), [("neither", False), ("avx512_bf16", True), ("amx", True)])
def test_bf16_without_instructions_of_its_own_is_slow(instructions, expected, monkeypatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions == "avx512_bf16")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: instructions == "amx")
    assert precision._is_native("bf16") == expected
