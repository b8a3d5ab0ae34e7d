"""Opens exported networks."""

from __future__ import annotations

import dataclasses
import functools
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.config.uses import check_imported, module_names
from videozoo.contracts.backend import STREAM, Outputs, Precision, Run
from videozoo.contracts.network import Network
from videozoo.decoding.registry import build_decoder
from videozoo.errors import ConfigError, WeightsError
from videozoo.io.npz import load_arrays
from videozoo.io.packed import read_packed, write_packed
from videozoo.runtimes.folder import (
    AGAIN,
    DESCRIPTION_FILE,
    EXTRACTOR_FOLDER,
    Description,
    Runtime,
    read_description,
    read_file,
)
from videozoo.runtimes.graph import Compute, Graphs, StoredBackend
from videozoo.runtimes.onnx import open_onnx
from videozoo.runtimes.openvino import open_openvino
from videozoo.runtimes.torch import open_torch_program
from videozoo.sentences.encoder import SentenceEncoder, stored_encoder
from videozoo.structured import reading
from videozoo.transforms.input import build_input

__all__ = ["open_exported", "open_packed"]

OPENERS: dict[Runtime, Callable[..., Compute]] = {
    "onnx": open_onnx,
    "openvino": open_openvino,
    "torch": open_torch_program,
}


def open_exported(
    source: str | os.PathLike[str], *, device: str = "auto", precision: Precision = "fp32", trusted: bool = False
) -> Network:
    """Opens the folder of an exported network.

    Args:
        device: "cpu", "cuda", ...; "auto" takes the best that the runtime has.
        precision: "fp32"; others are chosen when the network is exported.
        trusted: opens programs of torch, too, whose reading can run code.

    Raises:
        WeightsError: the description or a graph is missing, damaged, or of a newer version.
        ConfigError: an option that this runtime does not take.
        MissingPackageError: the runtime is not installed.
    """
    folder = Path(source)
    told = read_description(folder)
    if precision not in ("fp32", told["precision"]):  # fp32 is the default, and no wish
        raise ConfigError(
            f"precision: '{precision}' is asked, and {folder} was exported to compute in {told['precision']}; leave "
            "--precision out"
        )
    if told["runtime"] == "torch" and not trusted:
        raise WeightsError(
            f"{folder}: holds programs of torch, whose reading can run code of their author; export with --format "
            "onnx, or read them with torch.export.load"
        )
    where = f"{folder / DESCRIPTION_FILE}"
    uses = module_names(told.get("uses", []), where=f"{where}: uses", error=WeightsError)
    check_imported(uses, where=str(folder), error=WeightsError)
    try:
        spec = build_input(told["input"])
        decoder = build_decoder(told["decoder"], told["class_names"])
    except (ConfigError, KeyError) as error:
        raise WeightsError(f"{where}: does not fit this videozoo ({error}); {AGAIN}") from error
    graphs = Graphs(str(folder), _opened(folder, told, device=device))
    run: Run = graphs
    if (encoder := told.get("encoder")) is not None:
        run = functools.partial(_run_with_encoder, graphs, _encoder(encoder, folder, told, graphs, where=where))
    opener = None
    if told.get("has_extractor"):
        opener = functools.partial(
            open_exported, folder / EXTRACTOR_FOLDER, device=device, precision=precision, trusted=trusted
        )
    return Network(
        source=str(folder),
        name=told["name"],
        task=told["task"],
        backend=StoredBackend(run, decoder, spec, stepper=told["graphs"].get(STREAM)),
        decoder=decoder,
        spec=spec,
        num_features=told["num_features"],
        fingerprint=lambda: told["fingerprint"],
        write=functools.partial(_pack, folder, told),
        arrays=_arrays(folder, told),
        feature_recipe=told.get("features"),
        open_extractor=opener,
    )


def _opened(folder: Path, told: Description, *, device: str) -> dict[str, Any]:
    opened = {}
    for name, graph in told["graphs"].items():
        files = [read_file(folder, stored) for stored in graph["files"]]
        if not files:
            raise WeightsError(f"{folder / DESCRIPTION_FILE}: graph '{name}' has no file; {AGAIN}")
        with reading(folder / graph["files"][0]["name"], advice=AGAIN, error=WeightsError):
            opened[name] = graph, OPENERS[told["runtime"]](files, device=device)
    return opened


def _arrays(folder: Path, told: Description) -> dict[str, np.ndarray]:
    if (stored := told.get("arrays")) is None:
        return {}
    read_file(folder, stored)  # checks it
    path = folder / stored["name"]
    with reading(path, advice=AGAIN, error=WeightsError), load_arrays(path) as file:
        return dict(file)


def _encoder(
    args: Mapping[str, Any], folder: Path, told: Description, graphs: Graphs, *, where: str
) -> SentenceEncoder:
    def network(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return graphs("tokens", {"ids": ids, "mask": mask})["vectors"]

    return stored_encoder(args, folder, vocabulary=told["class_names"], network=network, where=f"{where}: encoder")


def _run_with_encoder(graphs: Graphs, encoder: SentenceEncoder, name: str, inputs: Mapping[str, Any]) -> Outputs:
    """Computes the graphs; "sentence" is the encoder's, which takes texts."""
    if name == "sentence":
        return {"vectors": encoder(inputs["sentence"])}
    return graphs(name, inputs)


def open_packed(path: Path, **options: Any) -> Network:
    """Opens an exported network that `extract` stored with features; see `open_exported` for options and errors."""
    files, arrays = read_packed(path)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        network = open_exported(folder, **options)

    def write(target: Path, arrays: Mapping[str, np.ndarray]) -> None:
        write_packed(target, files, arrays)

    return dataclasses.replace(network, source=str(path), arrays={**network.arrays, **arrays}, write=write)


def _pack(folder: Path, told: Description, path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the folder of an exported network, and further arrays, as one file."""
    stored = [file for graph in told["graphs"].values() for file in graph["files"]]
    stored += [told["arrays"]] if "arrays" in told else []
    files = {file["name"]: read_file(folder, file) for file in stored}
    write_packed(path, {DESCRIPTION_FILE: (folder / DESCRIPTION_FILE).read_bytes(), **files}, arrays)
