"""The checkpoint format: files are written completely or not at all, and reading runs no code.

A training checkpoint (`.pt`) is one dict of plain values and tensors. A published file (`.safetensors`) holds the same
model state, with the record and the class names as JSON in its header.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from videozoo.config.uses import check_imported, module_names
from videozoo.errors import WeightsError
from videozoo.io.unpickle import open_weights
from videozoo.io.whole_file import whole_file
from videozoo.structured import checked, parse_json, reading, reason, regular_file, shown
from videozoo.weights.torch_file import TORCH_DAMAGE, TorchFileRefused, is_zip, read_torch

__all__ = [
    "FORMAT",
    "VERSION",
    "Checkpoint",
    "extractor_payload",
    "find",
    "fingerprint",
    "read",
    "replace_file",
    "write",
    "write_safetensors",
]

FORMAT = "videozoo"
VERSION = 1
ADVICE = "it was not written by videozoo, or is damaged"
NOT_RESUMED = frozenset({"format", "version", "record", "class_names", "model", "step", "extractor"})
EXTRACTOR_PREFIX = "extractor/"  # of its tensors' names in a safetensors file

# version -> function from the content of that version to that of the next
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The content of a weight file.

    `record` is the resolved recipe (model, task, input, ...), `class_names` the names of the outputs. `resume` holds
    everything that only training needs; it is empty for published weights. `extractor` is the checkpoint of the network
    that makes the features for a model on features.
    """

    path: Path
    record: Mapping[str, Any]
    class_names: tuple[str, ...]
    model: Mapping[str, Tensor]
    step: int
    resume: Mapping[str, Any]
    extractor: Checkpoint | None = None

    def check_code(self) -> None:
        """Refuses a record that names a user's own modules unless they are imported; imports nothing itself.

        Raises:
            WeightsError: a module is not imported; the message says how to allow it.
        """
        names = module_names(self.record.get("uses", ()), where=f"{self.path}: record: uses", error=WeightsError)
        check_imported(names, where=str(self.path), error=WeightsError)

    def section(self, name: str) -> dict[str, Any]:
        """Returns a copy of one section of the record, such as `model` with its `name`.

        Raises:
            WeightsError: the record has no such section.
        """
        found = self.record.get(name)
        if not isinstance(found, Mapping) or not isinstance(found.get("name"), str):
            raise WeightsError(
                f"{self.path}: record: {name}: needs a section with a name, got {shown(found)}; {ADVICE}"
            )
        return dict(found)

    def check_finite(self) -> None:
        """Refuses weights of a training that diverged, whose scores would be nan.

        Raises:
            WeightsError: a tensor of the model holds nan or infinity.
        """
        wrong = [name for name, tensor in self.model.items() if not _is_finite(tensor)]
        if wrong:
            raise WeightsError(
                f"{self.path}: the model's scores are nan, since {len(wrong)} of its {len(self.model)} tensors hold "
                f"values that are not finite ({shown(wrong[0])}{', ...' if len(wrong) > 1 else ''}); use a checkpoint "
                "from before the training diverged"
            )


def _is_finite(tensor: Tensor) -> bool:
    """Checks the minimum and the maximum only: a hundred times faster than `isfinite` of every value."""
    if not tensor.numel() or not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    parts = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    parts = parts.float() if parts.element_size() < 4 else parts  # 8-bit floats have no minimum
    return all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(parts))


def find(run: str | os.PathLike[str]) -> Path:
    """Finds the weight file of a run directory (best.pt, else last.pt) or returns the file itself.

    Raises:
        WeightsError: there is no such file.
    """
    path = Path(run)
    if os.path.exists(path) and not os.path.isdir(path):  # noqa: PTH110, PTH112 (False for names that no file can have)
        return regular_file(path, kind="file of weights", error=WeightsError)
    if not os.path.isdir(path):  # noqa: PTH112 (False for names that no file can have)
        raise WeightsError(f"{path}: there is no such file or run directory; train one with `videozoo train`")
    for name in ("best.pt", "last.pt"):
        if (path / name).is_file():
            return path / name
    raise WeightsError(
        f"{path}: holds neither best.pt nor last.pt; the run has not saved yet, or this is not a run directory"
    )


def write(path: str | os.PathLike[str], payload: Mapping[str, Any]) -> None:
    """Writes a checkpoint under a temporary name, then renames it: a reader never sees half a file.

    `payload` holds record, class_names, model (a state dict), step, everything else that a resumed run needs, and as
    `extractor` the result of `extractor_payload`.

    Raises:
        WeightsError: it cannot be written (disk full, no permission); an older file is kept.
    """
    path = Path(path)
    content = {"format": FORMAT, "version": VERSION, **payload}
    replace_file(path, lambda temporary: torch.save(content, temporary))


def write_safetensors(
    path: str | os.PathLike[str],
    *,
    record: Mapping[str, Any],
    class_names: tuple[str, ...],
    model: Mapping[str, Tensor],
    extractor: Checkpoint | None = None,
) -> None:
    """Writes published weights: the model's tensors with the record as JSON in the header."""
    header = {
        "format": FORMAT,
        "version": str(VERSION),
        "record": json.dumps(record),
        "class_names": json.dumps(class_names),
    }
    tensors = dict(model)
    if extractor is not None:
        described = {"record": extractor.record, "class_names": extractor.class_names}
        header["extractor"] = json.dumps(described)
        tensors |= {f"{EXTRACTOR_PREFIX}{name}": tensor for name, tensor in extractor.model.items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    replace_file(Path(path), lambda temporary: safetensors.torch.save_file(tensors, temporary, metadata=header))


def extractor_payload(extractor: Checkpoint) -> dict[str, Any]:
    """Returns an extractor as plain values and tensors, for storage in another checkpoint."""
    return {
        "record": dict(extractor.record),
        "class_names": list(extractor.class_names),
        "model": dict(extractor.model),
    }


def fingerprint(model: Mapping[str, Tensor]) -> str:
    """Returns the SHA-256 over the sorted names, types, shapes and bytes; it does not depend on the file format."""
    digest = hashlib.sha256()
    for name in sorted(model):
        tensor = model[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Reads a checkpoint or published weights onto the CPU; of a run directory, the best checkpoint.

    Raises:
        WeightsError: no such file, cut short, not of this format, or of a newer version.
    """
    path = find(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pt(path)
    if content.get("format") != FORMAT:
        raise WeightsError(
            f"{path}: is not a videozoo checkpoint; convert other projects' weights with `videozoo import`"
        )
    version = checked(content, _Versioned, where=path, advice=ADVICE, error=WeightsError)["version"]
    if version > VERSION:
        raise WeightsError(f"{path}: has format version {version}, this videozoo reads {VERSION}; upgrade videozoo")
    for old in range(version, VERSION):
        content = MIGRATIONS[old](content)
    stored = checked(content, _Content, where=path, advice=ADVICE, error=WeightsError)
    inner = stored.get("extractor")
    extractor = None
    if inner is not None:
        state = _state(inner.get("model"), f"{path}: extractor")
        extractor = Checkpoint(path, inner["record"], tuple(inner["class_names"]), state, step=0, resume={})
    return Checkpoint(
        path=path,
        record=stored["record"],
        class_names=tuple(stored["class_names"]),
        model=_state(content.get("model"), str(path)),
        extractor=extractor,
        step=stored.get("step", 0),
        resume={key: value for key, value in content.items() if key not in NOT_RESUMED},
    )


class _Versioned(TypedDict):
    version: PositiveInt


class _Network(TypedDict):
    """The fields of a network; `_state` checks `model`, its tensors."""

    record: dict[str, Any]
    class_names: list[str]
    model: NotRequired[Any]


class _Content(_Network):
    step: NotRequired[NonNegativeInt]
    extractor: NotRequired[_Network | None]


def _state(model: Any, where: str) -> Mapping[str, Tensor]:
    if not isinstance(model, Mapping):
        raise WeightsError(f"{where}: model: should be tensors by name, got {shown(model)}; {ADVICE}")
    for name, tensor in model.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(f"{where}: model: {shown(name)} should be a tensor, got {shown(tensor)}; {ADVICE}")
    return model


def _read_pt(path: Path) -> dict[str, Any]:
    with open_weights(path) as file:
        if not is_zip(file.read(64)):  # an older pickle, or something else
            raise WeightsError(
                f"{path}: cannot be read (not a zip archive as torch.save writes it); it was cut short or is not a "
                "checkpoint: use another checkpoint of the run, or convert other projects' weights with "
                "`videozoo import`"
            )
    try:
        content = read_torch(path)
    except (TorchFileRefused, pickle.UnpicklingError) as error:
        raise WeightsError(
            f"{path}: refused, it holds more than tensors and plain values, or is not a checkpoint ({reason(error)}); "
            "convert other projects' weights with `videozoo import`"
        ) from error
    except TORCH_DAMAGE as error:
        raise WeightsError(
            f"{path}: cannot be read ({reason(error)}); it was cut short or damaged: use another checkpoint of the run"
        ) from error
    return content if isinstance(content, dict) else {}


def _read_safetensors(path: Path) -> dict[str, Any]:
    open_weights(path).close()  # raises for faults other than damage
    with (
        reading(path, advice="it was cut short or damaged", error=WeightsError),
        safetensors.safe_open(path, framework="pt") as file,
    ):
        header = file.metadata() or {}
        model = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if header.get("format") != FORMAT:
        return {}
    content: dict[str, Any] = {key: header[key] for key in ("format", "version") if key in header}
    for key in ("record", "class_names", "extractor"):
        if key in header:
            content[key] = parse_json(header[key], where=f"{path}: {key}", advice=ADVICE, error=WeightsError)
    if isinstance(content.get("extractor"), dict):
        inner = {name: model.pop(name) for name in list(model) if name.startswith(EXTRACTOR_PREFIX)}
        content["extractor"]["model"] = {name.removeprefix(EXTRACTOR_PREFIX): t for name, t in inner.items()}
    return {**content, "model": model}


def replace_file(path: str | os.PathLike[str], write_to: Callable[[str], None]) -> None:
    """Calls `write_to` with a temporary name and renames the file: it is written completely or not at all.

    Raises:
        WeightsError: it cannot be written; an older file is kept.
    """
    failures = (RuntimeError, safetensors.SafetensorError)
    with whole_file(path, error=WeightsError, writer_errors=failures) as unfinished:
        write_to(str(unfinished))
