"""Measures a model's exports in turn with torch: seconds, differences, sizes."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from videozoo.errors import ConfigError, VideoZooError
from videozoo.export.formats import WRITERS
from videozoo.export.reduced import REDUCERS, Inputs
from videozoo.export.trace import trace
from videozoo.models.folding import folded
from videozoo.models.limit import Clock, fastest_s
from videozoo.models.memory_format import channels_last
from videozoo.models.model import VideoModel
from videozoo.runtimes.folder import Runtime
from videozoo.runtimes.network import OPENERS
from videozoo.tasks.graph import Graph

__all__ = ["FormSpeed", "time_exports"]

NUM_CLIPS = 8  # on which answers are compared
BLOCK_CELLS = 8  # clips of this many blocks a side
Predict = Callable[[np.ndarray], list[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class FormSpeed:
    """One form of a model; the values are None where it cannot be made, with the `reason`.

    Attributes:
        difference: the largest of all outputs, relative to the largest output of torch in float32.
        agreement: share of clips with the same best class as torch in float32; None for outputs that are no classes.
    """

    seconds: float | None = None
    difference: float | None = None
    agreement: float | None = None
    size_bytes: int | None = None
    reason: str | None = None


def time_exports(
    model: VideoModel, *, batch_size: int = 1, num_turns: int = 3, clock: Clock = time.perf_counter
) -> dict[str, FormSpeed]:
    """Returns the speed of each form of a model on the CPU: "eager", "bf16", "onnx", "openvino" and "int8".

    All forms take turns on the same clip, so that other load of the machine slows all of them alike. "int8" is ONNX
    Runtime's, or OpenVINO's for 3-D networks. Clips are random blocks of color; answers are compared on others than
    those that measured the ranges.
    """
    channels_last(model)
    model = folded(model)
    clips = _clips(model.input_shape)
    examples = [{"input": clip} for clip in clips[:NUM_CLIPS]]
    forms: dict[str, Predict] = {"eager": _eager(model), "bf16": _eager(model, is_bf16=True)}
    sizes = {"eager": sum(tensor.nbytes for tensor in model.state_dict().values())}
    reasons: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as place:
        exports: dict[str, Callable[[], tuple[Runtime, list[Path]]]] = {
            "onnx": lambda: _exported(model, "onnx", Path(place) / "onnx"),
            "openvino": lambda: _exported(model, "openvino", Path(place) / "openvino"),
            "int8": lambda: _integers(Path(place), examples),
        }
        for name, make in exports.items():
            try:
                runtime, files = make()
            except VideoZooError as error:
                reasons[name] = str(error)
                continue
            forms[name] = _opened(runtime, files, num_outputs=len(_outputs(model)))
            sizes[name] = sum(path.stat().st_size for path in files)
    wanted = [forms["eager"](clip) for clip in clips[NUM_CLIPS:]]
    input_ = np.concatenate(clips[:batch_size])
    calls = {name: functools.partial(form, input_) for name, form in forms.items()}
    seconds = fastest_s(calls, num_turns=num_turns, clock=clock)
    found = {name: FormSpeed(reason=reason) for name, reason in reasons.items()}
    for name, form in forms.items():
        answers = [form(clip) for clip in clips[NUM_CLIPS:]]
        difference = max(_apart(a, b) for a, b in zip(wanted, answers, strict=True))
        found[name] = FormSpeed(seconds[name], difference, _agreement(model, wanted, answers), sizes.get(name))
    return found


def _clips(shape: Sequence[int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    clips = []
    for _ in range(2 * NUM_CLIPS):
        *rest, height, width = shape
        blocks = rng.normal(size=(1, *rest, BLOCK_CELLS, BLOCK_CELLS)).astype(np.float32)
        clip = blocks.repeat(-(-height // BLOCK_CELLS), -2).repeat(-(-width // BLOCK_CELLS), -1)
        clips.append(np.ascontiguousarray(clip[..., :height, :width]))
    return clips


def _eager(model: VideoModel, *, is_bf16: bool = False) -> Predict:
    def predict(clips: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            return [output.float().numpy() for output in tree_leaves(model(torch.from_numpy(clips)))]

    return predict


def _outputs(model: VideoModel) -> list[str]:
    clips = torch.zeros(1, *model.input_shape)
    with torch.inference_mode():
        return [f"output_{number}" for number, _ in enumerate(tree_leaves(model(clips)))]


def _exported(model: VideoModel, runtime: Runtime, stem: Path) -> tuple[Runtime, list[Path]]:
    def forward(input: torch.Tensor) -> Mapping[str, torch.Tensor]:
        return {f"output_{number}": output for number, output in enumerate(tree_leaves(model(input)))}

    example = torch.zeros(2, *model.input_shape)
    traced = trace(model, Graph(forward, {"input": example}, {"input": {0: "clips"}}), where=model.name)
    return runtime, WRITERS[runtime](traced, stem)


def _integers(folder: Path, examples: Inputs) -> tuple[Runtime, list[Path]]:
    """Reduces the exports in a folder, in place: that of ONNX Runtime, or else that of OpenVINO."""
    try:
        files = [folder / "onnx.onnx"]
        REDUCERS["onnx", "int8"].write(files, examples, None)
        return "onnx", files
    except ConfigError:  # 3-D
        files = [folder / "openvino.xml", folder / "openvino.bin"]
        REDUCERS["openvino", "int8"].write(files, examples, None)
        return "openvino", files


def _opened(runtime: Runtime, files: Sequence[Path], *, num_outputs: int) -> Predict:
    compute = OPENERS[runtime]([path.read_bytes() for path in files], device="cpu")
    names = [f"output_{number}" for number in range(num_outputs)]
    return lambda clips: list(compute({"input": clips}, names))


def _apart(wanted: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(a - b).max() / (np.abs(a).max() or 1.0)) for a, b in zip(wanted, found, strict=True))


def _agreement(
    model: VideoModel, wanted: Sequence[Sequence[np.ndarray]], found: Sequence[Sequence[np.ndarray]]
) -> float | None:
    if not model.is_classifier:
        return None
    return float(np.mean([np.argmax(a[0], 1) == np.argmax(b[0], 1) for a, b in zip(wanted, found, strict=True)]))
