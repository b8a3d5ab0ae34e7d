"""Writes the network of a checkpoint as a folder that runs without torch."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from videozoo.contracts.network import Network
from videozoo.errors import ConfigError, WeightsError
from videozoo.export.calibrate import MAX_LOSS, Reduction
from videozoo.export.formats import WRITERS
from videozoo.export.trace import trace
from videozoo.runtimes.folder import (
    ARRAYS_FILE,
    EXTRACTOR_FOLDER,
    Description,
    ExportPrecision,
    Runtime,
    StoredGraph,
    is_export,
    stored_file,
    write_description,
)
from videozoo.structured import reason
from videozoo.tasks.backend import TorchBackend
from videozoo.tasks.network import open_torch

__all__ = ["export_network"]


def export_network(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    runtime: Runtime = "onnx",
    precision: ExportPrecision = "fp32",
    calibrate: str | os.PathLike[str] | None = None,
    max_loss: float = MAX_LOSS,
) -> Path:
    """Writes the network of a run, a weight file or "timm:NAME" into the folder `out`, whole or not at all.

    Args:
        precision: "fp16" stores weights in half precision; "int8" computes networks on clips in 8-bit integers.
        calibrate: a folder, a list file or a video; measures the ranges of int8 and guards the answers.
        max_loss: the largest loss of answers on these videos, in points of the task's score or of agreement with fp32.

    Raises:
        WeightsError: no such weights, they do not fit their own record, or the folder cannot be written.
        ConfigError: the network cannot be exported, or `out` is something else than an earlier export.
        MissingPackageError: a package of the format is not installed.
    """
    folder = Path(out)
    if folder.exists() and not is_export(folder) and not (folder.is_dir() and not any(folder.iterdir())):
        raise ConfigError(f"{folder}: is there already and holds no exported network; give a new folder")
    if precision == "fp32" and calibrate is not None:
        raise ConfigError(f"--calibrate {calibrate}: fp32 needs no videos; give --precision int8 or fp16, too")
    network = open_torch(source, device="cpu")
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.absolute().parent))
    except OSError as error:
        raise WeightsError(f"{folder}: cannot be written ({reason(error)}); give another folder") from error
    try:
        _write(network, unfinished, runtime, Reduction(precision, calibrate, max_loss))
        unfinished.chmod(0o777 & ~_umask())  # mkdtemp's are private
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.replace(folder)
    except OSError as error:
        raise WeightsError(f"{folder}: cannot be written ({reason(error)}); free some space or give another") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write(network: Network, folder: Path, runtime: Runtime, reduction: Reduction) -> None:
    backend = network.backend
    assert isinstance(backend, TorchBackend)
    task = backend.task
    folder.mkdir(exist_ok=True)
    graphs: dict[str, StoredGraph] = {}
    for name, graph in task.graphs(network.spec).items():
        traced = trace(task, graph, where=f"{network.source}: graph '{name}' of {network.name}")
        files = WRITERS[runtime](traced, folder / name)
        stored = [stored_file(path) for path in files]
        graphs[name] = {"files": stored, "inputs": traced.inputs, "outputs": traced.outputs}
    description: Description = {
        "runtime": runtime,
        "precision": "fp32",
        "name": network.name,
        "task": network.task,
        "fingerprint": network.fingerprint(),
        "num_features": network.num_features,
        "class_names": list(network.class_names),
        "input": network.spec.to_dict(),
        "decoder": network.decoder.to_dict(),
        "graphs": graphs,
    }
    own = {type(part).__module__ for part in (network.decoder, network.spec)}
    if uses := sorted(name for name in own if not name.startswith("videozoo.")):
        description["uses"] = uses
    if (encoder := getattr(task, "encoder", None)) is not None:
        description["encoder"] = encoder.store(folder)
    if network.arrays:
        np.savez(folder / ARRAYS_FILE, **network.arrays)  # type: ignore[arg-type]
        description["arrays"] = stored_file(folder / ARRAYS_FILE)
    if network.feature_recipe is not None:
        description["features"] = dict(network.feature_recipe)
    if network.open_extractor is not None:
        _write(network.open_extractor(), folder / EXTRACTOR_FOLDER, runtime, reduction)
        description["has_extractor"] = True
    write_description(folder, description)
    if reduction.precision != "fp32":
        reduction.apply(folder, task, takes_features=network.takes_features)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
