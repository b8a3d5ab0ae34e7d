"""The doors to prediction: from a file's name to a predictor, an extractor or a searcher.

They know every kind of backend; what they return knows none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videozoo.config.uses import import_modules
from videozoo.contracts.backend import Precision
from videozoo.contracts.network import Network
from videozoo.errors import ConfigError, require
from videozoo.io.packed import is_packed
from videozoo.predict.extractor import Extractor
from videozoo.predict.index import RunMark
from videozoo.predict.predictor import Predictor
from videozoo.predict.search import Searcher
from videozoo.predict.vector_search import VectorSearcher
from videozoo.runtimes.folder import is_export
from videozoo.runtimes.network import open_exported, open_packed

__all__ = ["load", "load_extractor", "load_searcher", "load_vector_searcher", "open_network"]

GRAPH_ENDINGS = (".onnx", ".xml", ".pt2")


def open_network(
    source: str | os.PathLike[str],
    *,
    device: str = "auto",
    precision: Precision = "fp32",
    allow_code: Sequence[str] = (),
) -> Network:
    """Opens the network of a run directory or a weight file, an export's folder, a card, or "timm:NAME".

    Args:
        allow_code: modules with parts of your own, imported first. A checkpoint that needs others is refused.

    Raises:
        WeightsError: there is no such file, it is damaged, does not fit its own record, or needs code that is not
            allowed.
        ConfigError: an option that this machine does not take, a module that cannot be imported, or a graph
            without the folder that it lies in.
        MissingPackageError: torch is not installed, which all but exports need.
    """
    import_modules(allow_code, where="allow_code")
    if is_export(source):
        return open_exported(source, device=device, precision=precision)
    if is_packed(source):
        return open_packed(Path(source), device=device, precision=precision)
    if (path := Path(source)).suffix in GRAPH_ENDINGS:
        raise ConfigError(f"{path}: is a file of an exported network; give its folder, {path.parent}")
    require("torch", extra="torch", purpose=f"{os.fspath(source)}")
    from videozoo.tasks.network import open_torch

    return open_torch(source, device=device, precision=precision)


def load(
    path: str | os.PathLike[str],
    *,
    device: str = "auto",
    precision: Precision = "fp32",
    views: str | None = None,
    labels: Sequence[str] | None = None,
    allow_code: Sequence[str] = (),
) -> Predictor:
    """Returns the predictor of a run directory, a weight file, an export or a card; see `Predictor`.

    A card is a name in `videozoo list weights`, e.g. "transnetv2"; its file is downloaded once.

    Args:
        device: "cpu", "cuda", "cuda:1" ...; "auto" takes the accelerator of this machine, else the CPU.
        precision: "bf16" and "fp16" compute in mixed precision.
        views: the protocol, "clips x crops" as in "10x3"; None takes the one that the weights carry.
        labels: words or phrases to choose among, for a network that compares videos with sentences.
        allow_code: modules with parts of your own, imported first, e.g. ["my_package.my_parts"]. A checkpoint that
            needs others is refused.

    Raises:
        WeightsError: there is no such file, it is damaged, does not fit its own record, or needs code that is not
            allowed.
        ConfigError: an option that this machine or the model's input does not take, or a module that cannot be
            imported.
    """
    network = open_network(path, device=device, precision=precision, allow_code=allow_code)
    return Predictor(network if labels is None else network.with_labels(labels), views=views)


def load_extractor(
    source: str | os.PathLike[str],
    *,
    device: str = "auto",
    precision: Precision = "fp32",
    allow_code: Sequence[str] = (),
    **options: Any,
) -> Extractor:
    """Returns the extractor of a clip classifier's run or weight file, or of "timm:NAME"; see `Extractor` for options.

    Raises:
        WeightsError: no such weights, or they do not fit.
        ConfigError: the weights are no clip classifier, or an argument is out of range.
    """
    return Extractor(open_network(source, device=device, precision=precision, allow_code=allow_code), **options)


def load_searcher(run: str | os.PathLike[str], *, device: str = "auto", allow_code: Sequence[str] = ()) -> Searcher:
    """Returns the searcher of a grounding run or its weight file; see `load` for `allow_code`.

    Raises:
        WeightsError: there is no such file, or it is damaged.
        ConfigError: the run answers no sentences.
    """
    network = open_network(run, device=device, allow_code=allow_code)
    if network.task != "ground":
        raise ConfigError(
            f"{run}: is a run of '{network.task}', which takes no query; train one of `ground`, e.g. motion/tall"
        )
    mark = RunMark(str(Path(network.source).resolve()), network.fingerprint())
    return Searcher(Predictor(network), mark)


def load_vector_searcher(
    run: str | os.PathLike[str], *, device: str = "auto", allow_code: Sequence[str] = ()
) -> VectorSearcher:
    """Returns the searcher of a network that compares videos with sentences: a run, a weight file or a card.

    Raises:
        WeightsError: there is no such file, or it is damaged.
        ConfigError: the network does not compare videos with sentences.
    """
    network = open_network(run, device=device, allow_code=allow_code)
    place = str(Path(run).resolve()) if Path(run).exists() else os.fspath(run)  # a card is not a path
    return VectorSearcher(network, RunMark(place, network.fingerprint()))
