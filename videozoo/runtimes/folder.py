"""An exported network on the disk: a folder with its graphs, and one JSON with everything else.

network.json        the description: a `Description`
main.onnx           a graph; others lie beside it, each under its own name
arrays.npz          further arrays, where the network has some
extractor/          the network that makes its features: a folder like this one
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import PositiveInt
from typing_extensions import NotRequired, TypedDict

from videozoo.errors import WeightsError
from videozoo.io.whole_file import write_whole_text
from videozoo.structured import checked, read_json, reading, regular_file, shown

__all__ = [
    "ARRAYS_FILE",
    "DESCRIPTION_FILE",
    "EXTRACTOR_FOLDER",
    "Description",
    "ExportPrecision",
    "Port",
    "Runtime",
    "StoredCalibration",
    "StoredFile",
    "StoredGraph",
    "is_export",
    "read_description",
    "read_file",
    "stored_file",
    "write_description",
]

FORMAT = "videozoo network"
VERSION = 1
DESCRIPTION_FILE, ARRAYS_FILE, EXTRACTOR_FOLDER = "network.json", "arrays.npz", "extractor"
AGAIN = "copy the whole folder again, or repeat `videozoo export`"
MAX_DESCRIPTION_BYTES = 1 << 26

Runtime = Literal["onnx", "openvino", "torch"]
ExportPrecision = Literal["fp32", "fp16", "int8"]


class Port(TypedDict):
    """An input or output of a graph; an axis of any length has a name in place of a number."""

    name: str
    type: Literal["float32", "float64", "int64", "bool"]
    shape: list[int | str]


class StoredFile(TypedDict):
    """A file of the folder, with what it must hold."""

    name: str
    sha256: str


class StoredGraph(TypedDict):
    """One graph: its files, the one to open first, and its inputs and outputs in order."""

    files: list[StoredFile]
    inputs: list[Port]
    outputs: list[Port]


class StoredCalibration(TypedDict):
    """How the answers of a reduced precision compare with fp32: points of `score` lost on some videos."""

    data: str
    num_videos: int
    score: str
    loss: float


class Description(TypedDict):
    """What an exported network is; plain values, as in the record of a run."""

    runtime: Runtime
    precision: ExportPrecision
    name: str
    task: str
    fingerprint: str  # SHA-256 of the weights that it was made of
    num_features: int
    class_names: list[str]
    input: dict[str, Any]
    decoder: dict[str, Any]
    graphs: dict[str, StoredGraph]
    encoder: NotRequired[dict[str, Any]]  # of sentences
    arrays: NotRequired[StoredFile]
    calibration: NotRequired[StoredCalibration]
    features: NotRequired[dict[str, Any]]  # how the features were made that it takes
    has_extractor: NotRequired[bool]
    uses: NotRequired[list[str]]  # modules with its own decoder or input spec


class _Marked(TypedDict):
    format: str
    version: PositiveInt


def is_export(path: str | os.PathLike[str]) -> bool:
    """Whether a folder holds an exported network."""
    return os.path.isfile(os.path.join(path, DESCRIPTION_FILE))  # noqa: PTH113, PTH118 (False for any text)


def read_description(folder: Path) -> Description:
    """Reads the description of an exported network.

    Raises:
        WeightsError: there is none, it is damaged, or of a newer version.
    """
    path = folder / DESCRIPTION_FILE
    content = read_json(path, kind="description", advice=AGAIN, max_bytes=MAX_DESCRIPTION_BYTES, error=WeightsError)
    marked = checked(content, _Marked, where=path, advice=AGAIN, error=WeightsError)
    if marked["format"] != FORMAT:
        raise WeightsError(f"{path}: is of the format {shown(marked['format'])}, not '{FORMAT}'; {AGAIN}")
    if marked["version"] > VERSION:
        raise WeightsError(
            f"{path}: has format version {marked['version']}, this videozoo reads {VERSION}; upgrade videozoo"
        )
    return checked(content, Description, where=path, advice=AGAIN, error=WeightsError)


def write_description(folder: Path, description: Description) -> None:
    """Writes the description of an exported network."""
    content: Mapping[str, Any] = {"format": FORMAT, "version": VERSION, **description}
    write_whole_text(folder / DESCRIPTION_FILE, json.dumps(content, indent=1) + "\n", error=WeightsError)


def stored_file(path: Path) -> StoredFile:
    """Returns the entry of a file that was written into the folder."""
    return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def read_file(folder: Path, stored: StoredFile) -> bytes:
    """Reads a file of the folder.

    Raises:
        WeightsError: it is missing, lies elsewhere, or is not the file that was exported.
    """
    name = stored["name"]
    if name != os.path.basename(name) or name in ("", ".", ".."):  # noqa: PTH119
        raise WeightsError(f"{folder / DESCRIPTION_FILE}: names the file {shown(name)}, outside of its folder; {AGAIN}")
    path = regular_file(folder / name, kind="file of the exported network", error=WeightsError)
    with reading(path, advice=AGAIN, error=WeightsError):
        data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != stored["sha256"]:
        raise WeightsError(
            f"{path}: is damaged, its SHA-256 begins with {found[:12]} and was {shown(stored['sha256'][:12])}; {AGAIN}"
        )
    return data
