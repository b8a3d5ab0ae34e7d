"""The doors to prediction: from a file's name to a predictor, an extractor or a searcher.

They know every kind of backend; what they return knows none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from videozoo.contracts.backend import Precision
from videozoo.contracts.network import Network
from videozoo.errors import ConfigError, require
from videozoo.predict.extractor import Extractor
from videozoo.predict.index import RunMark
from videozoo.predict.predictor import Predictor
from videozoo.predict.search import Searcher

__all__ = ["load", "load_extractor", "load_searcher", "open_network"]


def open_network(source: str | os.PathLike[str], *, device: str = "auto", precision: Precision = "fp32") -> Network:
    """Opens the network of a run directory or a weight file (.pt, .safetensors), or "timm:NAME".

    Raises:
        WeightsError: there is no such file, it is damaged, or does not fit its own record.
        ConfigError: an option that this machine does not take.
        MissingPackageError: torch is not installed.
    """
    require("torch", extra="torch", purpose=f"{os.fspath(source)}")
    from videozoo.tasks.network import open_torch

    return open_torch(source, device=device, precision=precision)


def load(
    path: str | os.PathLike[str],
    *,
    device: str = "auto",
    precision: Precision = "fp32",
    views: str | None = None,
) -> Predictor:
    """Returns the predictor of a run directory or a weight file (.pt, .safetensors); see `Predictor`.

    Args:
        device: "cpu", "cuda", "cuda:1" ...; "auto" takes the accelerator of this machine, else the CPU.
        precision: "bf16" and "fp16" compute in mixed precision.
        views: the protocol, "clips x crops" as in "10x3"; None takes the one that the weights carry.

    Raises:
        WeightsError: there is no such file, it is damaged, or does not fit its own record.
        ConfigError: an option that this machine or the model's input does not take.
    """
    return Predictor(open_network(path, device=device, precision=precision), views=views)


def load_extractor(
    source: str | os.PathLike[str], *, device: str = "auto", precision: Precision = "fp32", **options: Any
) -> Extractor:
    """Returns the extractor of a clip classifier's run or weight file, or of "timm:NAME"; see `Extractor` for options.

    Raises:
        WeightsError: no such weights, or they do not fit.
        ConfigError: the weights are no clip classifier, or an argument is out of range.
    """
    return Extractor(open_network(source, device=device, precision=precision), **options)


def load_searcher(run: str | os.PathLike[str], *, device: str = "auto") -> Searcher:
    """Returns the searcher of a grounding run or its weight file.

    Raises:
        WeightsError: there is no such file, or it is damaged.
        ConfigError: the run answers no sentences.
    """
    network = open_network(run, device=device)
    if network.task != "ground":
        raise ConfigError(
            f"{run}: is a run of '{network.task}', which takes no query; train one of `ground`, e.g. motion/tall"
        )
    mark = RunMark(str(Path(network.source).resolve()), network.fingerprint())
    return Searcher(Predictor(network), mark)
