"""Other projects' published weights, loaded into videozoo's models."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from videozoo.errors import WeightsError, did_you_mean
from videozoo.io.unpickle import DO_NOT_TRUST, open_weights, unpickle_arrays
from videozoo.models.model import VideoModel
from videozoo.structured import shown
from videozoo.weights.conventions import needed_args
from videozoo.weights.keymap import SOURCES, KeyMap, Tensors, ports
from videozoo.weights.torch_file import TORCH_DAMAGE, TorchFileRefused, is_legacy, is_zip, read_torch

__all__ = ["SOURCES", "Match", "convert", "count_classes", "key_map", "match", "read_foreign"]

LONGEST_HEADER = 100_000_000  # of a safetensors file, in bytes
WRAPPERS = (
    "state_dict",
    "model_state",
    "model",
    "module",
    "ema_encoder",
    "target_encoder",
    "encoder",
    "classifiers",
)
NOT_FINITE = "with values that are not finite"

Model = TypeVar("Model", bound=VideoModel)


def convert(model: Model, state: str | os.PathLike[str] | Mapping[str, Any], *, source: str = "paddlevideo") -> Model:
    """Loads another project's weights into `model`, in place, and returns the model.

    `state` is a file (`.pdparams`, `.safetensors`, `.pth`, `.pyth`, `.pt`) or a mapping from their names to
    arrays or tensors; `source` is the project that wrote it, one of `SOURCES`. `paddlevideo` is PaddleVideo
    2.x, `paddlevideo1` the models of 2019 and 2020. Batch counters, which only torch has, are not changed.

    Raises:
        WeightsError: the file cannot be read, the project has no such model, or names or shapes do not fit;
            the message lists them all, and the model is unchanged.
    """
    where = os.fspath(state) if isinstance(state, str | os.PathLike) else f"{source} weights"
    theirs = read_foreign(state) if isinstance(state, str | os.PathLike) else _arrays(state)
    found = match(model, theirs, source=source)
    if found.faults:
        faults = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in found.faults.items()]
        advice = "build the model with the arguments that these weights were trained with"
        if set(found.faults) == {NOT_FINITE}:
            advice = "fetch the file again, or take weights from before the training diverged"
        raise WeightsError(f"{where}: does not fit {model.name}: {'; '.join(faults)}; {advice}")
    model.load_state_dict(found.tensors, strict=False)
    return model


@dataclasses.dataclass(frozen=True)
class Match:
    """The comparison of another project's weights with a model.

    tensors: the matching tensors, by the model's names.
    faults: names by kind of fault ("missing", "unmatched", "of another shape", `NOT_FINITE`); empty if all match.
    ignored: their names without a counterpart here, which need none.
    """

    tensors: Mapping[str, Tensor]
    faults: Mapping[str, Sequence[str]]
    ignored: Sequence[str]


def match(model: VideoModel, state: Tensors, *, source: str) -> Match:
    """Matches every tensor of `model` with one of their `state`; loads nothing.

    Raises:
        WeightsError: the project has no such model, or two of their names stand for the same tensor.
    """
    names = key_map(model, source=source)
    seen = _Seen(_clean(state, names))
    ours: dict[str, Tensor] = {}
    missing: list[str] = []
    misshapen: list[str] = []
    not_finite: list[str] = []
    for name, tensor in _wanted(model):
        try:
            value = names.read(name, model, seen)
        except KeyError as error:
            missing.append(f"{error.args[0]} (our {name})")
            continue
        if value.shape != tensor.shape:
            misshapen.append(f"{names.theirs(name)} {tuple(value.shape)} (our {name} {tuple(tensor.shape)})")
            continue
        ours[name] = torch.from_numpy(np.array(value)).to(tensor.dtype)
        if not ours[name].isfinite().all():
            not_finite.append(f"{names.theirs(name)} (our {name})")
    left = sorted(name for name in seen if name not in seen.used)
    ignored = [name for name in left if names.is_ignored(name) or name.endswith("num_batches_tracked")]
    unmatched = [name for name in left if name not in ignored]
    kinds = (
        ("missing", missing),
        ("unmatched", unmatched),
        ("of another shape", misshapen),
        (NOT_FINITE, not_finite),
    )
    return Match(ours, {kind: found for kind, found in kinds if found}, ignored)


def count_classes(model: VideoModel, state: Tensors, *, source: str) -> int | None:
    """Returns the width of the classifier in another project's weights for `model`; None if they have none."""
    names = key_map(model, source=source)
    try:
        return int(names.read("head.weight", model, _clean(state, names)).shape[0])
    except KeyError:
        return None


def key_map(model: VideoModel, *, source: str) -> KeyMap:
    """Returns the map from the names of `model`'s tensors to those of `source`.

    Raises:
        WeightsError: there is no such source, it has no such model, or it computes the model differently.
    """
    if source not in SOURCES:
        raise WeightsError(f"source '{source}': not a known project{did_you_mean(source, SOURCES)}")
    known = ports(source)
    if model.name not in known:
        raise WeightsError(f"source '{source}': no key map for the model '{model.name}'; it has: {', '.join(known)}")
    if args := needed_args(model, source=source):
        given = ", ".join(f"{key}={value}" for key, value in args.items())
        raise WeightsError(
            f"source '{source}': its {model.name} computes differently from this one, with any weights; "
            f"build the model with {given}"
        )
    return known[model.name].key_map(model)


def read_foreign(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the named arrays in another project's weight file; executes nothing in the file.

    The content, not the suffix, decides how the file is read: torch saves under any name.

    Raises:
        WeightsError: the file cannot be read, or holds something that is not an array.
    """
    path = Path(path)
    with open_weights(path) as file:
        head = file.read(512)
    if not head:
        raise WeightsError(f"{path}: is empty; fetch the file again")
    if head[257:262] == b"ustar":
        raise WeightsError(f"{path}: is a tar archive; give a file of weights from it, or one of torch 0.4 or later")
    if is_zip(head) or is_legacy(head):
        state = _read_torch(path)
    elif path.suffix == ".safetensors" or _is_safetensors(head):
        try:
            state = safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:  # KeyError: a type torch lacks
            raise _unreadable(path, error) from error
    else:
        state = unpickle_arrays(path)
    state = _unwrapped(state)
    if isinstance(state, Mapping) and isinstance(state.get("blobs"), Mapping):
        raise WeightsError(f"{path}: is a Caffe2 file, which is not supported; give the model's PyTorch weights")
    return _arrays(state, where=str(path))


def _unwrapped(state: Any) -> Any:
    """Returns the tensors inside of training checkpoints, averaged ones before others."""
    for wrapper in WRAPPERS:
        inner = state.get(wrapper) if isinstance(state, Mapping) else None
        if wrapper == "classifiers" and isinstance(inner, list) and inner:
            inner = inner[0]  # the published files hold one, the best
        if isinstance(inner, Mapping):
            state = inner
    return state


class _Inert:
    """Stands in for a foreign class or function in a file of torch's; ignores its arguments and state."""

    def __init__(self, *args: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _read_torch(path: Path) -> Any:
    """Reads an object that torch saved; an `_Inert` replaces each foreign object in it (a log, a config)."""
    try:
        return read_torch(path, inert=lambda name: type(name, (_Inert,), {}))
    except TorchFileRefused as error:
        raise WeightsError(f"{path}: {error}; {DO_NOT_TRUST}") from error
    except TORCH_DAMAGE as error:
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise WeightsError(
                f"{path}: it asks for {shown(asked[1])}, which is not part of a tensor, so nothing was loaded; "
                f"{DO_NOT_TRUST}"
            ) from error
        raise _unreadable(path, error) from error


def _is_safetensors(head: bytes) -> bool:
    """Returns whether a file starts with the length of a JSON header and the header itself."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= LONGEST_HEADER


def _unreadable(path: Path, error: Exception) -> WeightsError:
    """Returns an error with the first sentence of the message; torch's second one advises unsafe reading."""
    said = re.split(r"(?<=\w)\. |\n", str(error).rpartition("WeightsUnpickler error:")[2].strip())[0]
    return WeightsError(f"{path}: cannot be read as weights ({type(error).__name__}: {said}); fetch the file again")


def _clean(state: Tensors, names: KeyMap) -> dict[str, np.ndarray]:
    cleaned: dict[str, np.ndarray] = {}
    for name, value in state.items():
        known = cleaned.setdefault(names.cleaned(name), value)
        if known is not value:
            raise WeightsError(f"{name}: there are two tensors of that name once wrappers are removed; remove one")
    return cleaned


def _wanted(model: VideoModel) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            yield name, tensor


def _arrays(state: Any, *, where: str = "state") -> dict[str, np.ndarray]:
    if not isinstance(state, Mapping):
        raise WeightsError(f"{where}: is a {type(state).__name__}; needs arrays by name")
    if others := [name for name in state if not isinstance(name, str)]:
        raise WeightsError(f"{where}: has the {type(others[0]).__name__} {others[0]!r:.40} as a name; needs text")
    return {
        name: _array(value, where=f"{where}: {name}")
        for name, value in state.items()
        if name != "StructuredToParameterName@@"  # PaddlePaddle's table of its internal names
    }


def _array(value: Any, *, where: str) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if isinstance(value, tuple) and len(value) == 2:  # PaddlePaddle pickles a tensor as (its name, its array)
        value = value[1]
    array = np.asarray(value) if isinstance(value, np.ndarray | np.generic | int | float) else None
    if array is None or array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        kind = type(value).__name__ if array is None else f"{array.dtype} array"
        raise WeightsError(f"{where}: is a {kind}; needs an array of numbers of at most 64 bits")
    return array.astype(array.dtype.newbyteorder("="), copy=False)  # torch takes native byte order only


class _Seen(Tensors):
    """Their tensors, with the set of names that were read."""

    def __init__(self, tensors: Tensors):
        self._tensors = tensors
        self.used: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        value = self._tensors[name]
        self.used.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)
