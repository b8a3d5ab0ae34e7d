"""The files that a session writes for each video: answers in a format, a rendered video, a timeline, clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from videozoo.io.whole_file import write_whole_text
from videozoo.predict.answers import Answers
from videozoo.predict.outputs import check_writable, cut_spans, is_folder, plan_outputs
from videozoo.predict.prediction import Prediction

__all__ = ["Product", "Wanted", "plan_products"]

Write = Callable[[Path, Prediction, Path, "float | None"], list[Path]]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The outputs of a session.

    Attributes:
        out: a file for all answers, or a folder for one file per video.
        format: the name of the answers' format; by default the ending of `out` gives it.
        render: the rendered video, or a folder for several.
        plot: the picture of the timeline, or a folder for several.
        cut: a folder for clips of the found segments.
        cut_copy: copies the packets of clips without encoding.
    """

    out: Path | None = None
    format: str | None = None
    render: Path | None = None
    plot: Path | None = None
    cut: Path | None = None
    cut_copy: bool = False


@dataclasses.dataclass(frozen=True)
class Product:
    """One kind of file.

    Attributes:
        verb: the verb for messages, e.g. "rendered".
        paths: output path, by video.
        write: writes the file or files of one video and returns their paths.
        reads_video: whether writing decodes the video again.
    """

    verb: str
    paths: dict[Path, Path]
    write: Write
    reads_video: bool = False

    def make(self, video: Path, prediction: Prediction, fps: float | None) -> list[Path]:
        """Writes the files of one video.

        Raises:
            DataError: the video cannot be read, or a file cannot be written.
        """
        return self.write(video, prediction, self.paths[video], fps) if video in self.paths else []


def plan_products(videos: Sequence[Path], answers: Answers, wanted: Wanted, *, format: str | None) -> list[Product]:
    """Returns the wanted products; their paths are checked before any work.

    Raises:
        ConfigError: a path cannot be written to.
    """

    def to_format(video: Path, prediction: Prediction, path: Path, fps: float | None) -> list[Path]:
        return [write_whole_text(path, answers.only(prediction).text(format or "json"))]

    def to_video(video: Path, prediction: Prediction, path: Path, fps: float | None) -> list[Path]:
        from videozoo.predict.render import render  # slow to import

        return [render(video, prediction, path)]

    def to_picture(video: Path, prediction: Prediction, path: Path, fps: float | None) -> list[Path]:
        from videozoo.predict.plot import plot_timeline

        return [plot_timeline(prediction, path, top=answers.top)]

    def to_clips(video: Path, prediction: Prediction, path: Path, fps: float | None) -> list[Path]:
        spans = answers.timed_spans(prediction, "--cut")
        return cut_spans(video, spans, path, fps=fps, copy=wanted.cut_copy)

    if wanted.out is not None:
        check_writable(wanted.out)
    folder = wanted.out if wanted.out is not None and is_folder(wanted.out) else None
    products = [
        Product("written", plan_outputs(videos, folder, ending=f".{format}"), to_format),
        Product("rendered", plan_outputs(videos, wanted.render, ending=".mp4"), to_video, reads_video=True),
        Product("plotted", plan_outputs(videos, wanted.plot, ending=".png"), to_picture),
        Product("cut", plan_outputs(videos, wanted.cut, ending=""), to_clips, reads_video=True),
    ]
    return [product for product in products if product.paths]
