"""Reduces the precision of an exported network, and guards its answers on calibration videos."""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videozoo.contracts.answer import Answer, Labels
from videozoo.contracts.backend import Outputs, Run
from videozoo.data.clip_folder import clip_folder
from videozoo.data.clip_list import clip_list
from videozoo.errors import ConfigError, DataError, counted
from videozoo.export.reduced import REDUCERS, Inputs, Reducer, layers_of
from videozoo.predict.predictor import Predictor
from videozoo.predict.sources import find_videos
from videozoo.runtimes.folder import ExportPrecision, Runtime, read_description, stored_file, write_description
from videozoo.runtimes.graph import StoredBackend
from videozoo.runtimes.network import OPENERS, open_exported
from videozoo.tasks.task import Task

__all__ = ["MAX_LOSS", "Calibration", "Reduction"]

MAX_LOSS = 0.5
NUM_EXAMPLES = 32  # videos that ranges are measured on, one clip each
NUM_GROUPS = 6  # groups of layers that are tried alone after a loss
NUM_TRIALS = 4  # videos of such a trial


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Videos that stand for those to come.

    Attributes:
        name: of the folder or list, for the description.
        labels: the class of each video, in order; none if a video has no label.
    """

    name: str
    videos: tuple[Path, ...]
    labels: tuple[int, ...] = ()

    @classmethod
    def of(cls, source: str | os.PathLike[str], class_names: Sequence[str]) -> Calibration:
        """Finds the videos of a folder, a list file or a video; a folder a class, or a list with labels, labels them.

        Raises:
            DataError: there are no videos.
        """
        path = Path(source)
        if not class_names:
            return cls(path.name, tuple(find_videos([source])))
        try:
            open_labeled = clip_folder if path.is_dir() else clip_list
            records = list(open_labeled(path, class_names=list(class_names)))
        except DataError:  # it names no classes, or others: its videos count without labels
            return cls(path.name, tuple(find_videos([source])))
        labels = tuple(record.labels[0] for record in records if len(record.labels) == 1)
        return cls(path.name, tuple(r.path for r in records), labels if len(labels) == len(records) else ())


@dataclasses.dataclass(frozen=True)
class _Judge:
    """Judges the answers of a network by their labels, or by their agreement with the network in float32."""

    task: Task
    calibration: Calibration

    def loss(self, before: Sequence[Answer], after: Sequence[Answer]) -> tuple[str, float]:
        """Returns the name of the score, and the points that were lost."""
        name = self.task.monitor
        has_labels = bool(self.calibration.labels) and all(isinstance(answer, Labels) for answer in before)
        if has_labels and name in (scores := self._scores(before)):
            return name, scores[name] - self._scores(after)[name]
        changed = sum(_best(a) != _best(b) for a, b in zip(before, after, strict=True))
        return "agreement", 100 * changed / len(before)

    def _scores(self, answers: Sequence[Answer]) -> dict[str, float]:
        batch = {"id": [str(number) for number in range(len(answers))], "label": np.array(self.calibration.labels)}
        metrics = self.task.metrics()
        for metric in metrics:
            metric.update(answers, batch)
        return {name: score for metric in metrics for name, score in metric.compute().items()}


def _best(answer: Answer) -> list[str]:
    return [text for text, _ in answer.ranked(top=1)]


@dataclasses.dataclass(frozen=True)
class Reduction:
    """A lower precision for an exported network.

    Attributes:
        calibrate: a folder, a list file or a video; None guards nothing, and int8 cannot do without.
        max_loss: the largest loss on these videos, in points.
    """

    precision: ExportPrecision
    calibrate: str | os.PathLike[str] | None = None
    max_loss: float = MAX_LOSS

    def apply(self, folder: Path, task: Task, *, takes_features: bool) -> None:
        """Writes the graphs of an exported network in the precision, in place, and notes it in the description.

        Of a network on features, int8 reduces the extractor alone, and its answers are those that count.

        Raises:
            ConfigError: the runtime has no such precision, int8 has no videos, or too much is lost.
            DataError: a calibration video cannot be read.
        """
        told = read_description(folder)
        where = f"--precision {self.precision}"
        if (reducer := REDUCERS.get((told["runtime"], self.precision))) is None:
            raise ConfigError(f"{where}: the format {told['runtime']} has fp32 only; use --format onnx or openvino")
        if takes_features and reducer.needs_examples:
            if not told.get("has_extractor"):
                raise ConfigError(f"{where}: {told['name']} takes features, which int8 does not quicken; leave it out")
            return
        if self.calibrate is None and reducer.needs_examples:
            raise ConfigError(
                f"{where}: needs videos to measure ranges on; give --calibrate a folder, a list file or a video"
            )
        calibration = None
        if self.calibrate is not None and not takes_features:
            calibration = Calibration.of(self.calibrate, told["class_names"])
        _reduce(folder, reducer, calibration, task, self)


def _reduce(folder: Path, reducer: Reducer, calibration: Calibration | None, task: Task, wanted: Reduction) -> None:
    with tempfile.TemporaryDirectory() as place:
        original = Path(shutil.copytree(folder, Path(place) / "fp32"))
        before, examples = _answers(original, calibration)
        _rewrite(folder, reducer, examples)
        if calibration is not None:
            after, _ = _answers(folder, calibration)
            score, lost = _Judge(task, calibration).loss(before, after)
            if lost > wanted.max_loss:
                raise ConfigError(
                    f"--precision {wanted.precision}: loses {lost:.2f} points of {score} on "
                    f"{counted(len(before), 'video')}, and --max-loss is {wanted.max_loss:g}; most is lost in "
                    f"{_worst_layers(original, reducer, examples)}; export in another precision, or raise --max-loss"
                )
    told = read_description(folder)
    told["precision"] = wanted.precision
    if calibration is not None:
        told["calibration"] = {
            "data": calibration.name,
            "num_videos": len(before),
            "score": score,
            "loss": round(lost, 4),
        }
    write_description(folder, told)


def _rewrite(folder: Path, reducer: Reducer, examples: Mapping[str, Inputs]) -> None:
    told = read_description(folder)
    for name, graph in told["graphs"].items():
        if reducer.needs_examples and name not in examples:
            continue  # no video runs it: the sentence encoder, say
        files = [folder / stored["name"] for stored in graph["files"]]
        reducer.write(files, examples.get(name, ()), None)
        graph["files"] = [stored_file(path) for path in files]
    write_description(folder, told)


def _answers(folder: Path, calibration: Calibration | None) -> tuple[list[Answer], dict[str, list[Mapping[str, Any]]]]:
    """Returns the answers for all calibration videos, and inputs of each graph: one clip of videos spread evenly."""
    examples: dict[str, list[Mapping[str, Any]]] = {}
    if calibration is None:
        return [], examples
    network = open_exported(folder, device="cpu")
    backend = network.backend
    assert isinstance(backend, StoredBackend)
    heard: dict[str, Mapping[str, Any]] = {}
    predictor = Predictor(
        dataclasses.replace(network, backend=dataclasses.replace(backend, run=_listening(backend.run, heard)))
    )
    stride = -(-len(calibration.videos) // NUM_EXAMPLES)
    answers = []
    for number, video in enumerate(calibration.videos):
        heard.clear()
        answers.append(predictor(video).answer)
        if number % stride == 0:
            for name, inputs in heard.items():
                examples.setdefault(name, []).append(inputs)
    return answers, examples


def _listening(run: Run, heard: dict[str, Mapping[str, Any]]) -> Run:
    def listen(name: str, inputs: Mapping[str, Any]) -> Outputs:
        heard.setdefault(name, {key: value[:1] for key, value in inputs.items() if isinstance(value, np.ndarray)})
        return run(name, inputs)

    return listen


def _worst_layers(original: Path, reducer: Reducer, examples: Mapping[str, Inputs]) -> str:
    """Names the layers whose reduction alone changes the outputs most; consecutive layers are tried together."""
    told = read_description(original)
    found = []
    for name, graph in told["graphs"].items():
        trials = list(examples.get(name, ()))[:NUM_TRIALS]
        outputs = [port["name"] for port in graph["outputs"]]
        names = [stored["name"] for stored in graph["files"]]
        wanted = _computed([original / file for file in names], told["runtime"], trials, outputs)
        layers = layers_of(original / names[0]) if trials else []
        for group in np.array_split(np.array(layers), min(NUM_GROUPS, len(layers)) or 1):
            with tempfile.TemporaryDirectory() as place:
                files = [Path(shutil.copy(original / file, place)) for file in names]
                reducer.write(files, trials, group.tolist())
                changed = _computed(files, told["runtime"], trials, outputs)
            found.append((float(np.abs(changed - wanted).max() / np.abs(wanted).max()), group[0], group[-1]))
    worst = [each for each in sorted(found, reverse=True)[:2] if each[0] > 0]
    return ", ".join(f"{first} to {last} (outputs differ by {by:.1%})" for by, first, last in worst)


def _computed(files: Sequence[Path], runtime: Runtime, examples: Inputs, outputs: Sequence[str]) -> np.ndarray:
    compute = OPENERS[runtime]([path.read_bytes() for path in files], device="cpu")
    found = (output for example in examples for output in compute(dict(example), outputs))
    return np.concatenate([np.ravel(output).astype(np.float64) for output in found] or [np.zeros(0)])
