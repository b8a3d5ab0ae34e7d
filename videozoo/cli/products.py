"""What `videozoo predict` makes of each answer: a file of a format, a rendered video, a timeline, clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videozoo.predict.answers import Answers
    from videozoo.predict.prediction import Prediction

__all__ = ["Product", "plan_products"]

Write = Callable[[Path, "Prediction", Path, "float | None"], Sequence[Path]]


@dataclasses.dataclass
class Product:
    """One kind of file: what is done, where it goes for each video, how it is written, and what was made so far."""

    verb: str
    paths: dict[Path, Path]
    write: Write
    made: list[Path] = dataclasses.field(default_factory=list)

    def make(self, video: Path, prediction: Prediction, fps: float | None) -> None:
        if video in self.paths:
            self.made += self.write(video, prediction, self.paths[video], fps)


def plan_products(
    videos: Sequence[Path],
    answers: Answers,
    *,
    out: Path | None,
    format: str | None,
    render: Path | None,
    plot: Path | None,
    cut: Path | None,
    copy: bool,
) -> list[Product]:
    """The products that are wanted, their places checked before any work is done.

    Raises:
        ConfigError: a place that cannot be written to.
    """
    from videozoo.io.whole_file import write_whole_text
    from videozoo.predict.outputs import check_writable, cut_spans, is_folder, plan_outputs

    def to_format(video: Path, prediction: Prediction, path: Path, fps: float | None) -> list[Path]:
        return [write_whole_text(path, answers.only(prediction).text(format or "json"))]

    def to_video(video: Path, prediction: Prediction, path: Path, fps: float | None) -> list[Path]:
        from videozoo.predict.render import render as write_render

        return [write_render(video, prediction, path)]

    def to_picture(video: Path, prediction: Prediction, path: Path, fps: float | None) -> list[Path]:
        from videozoo.predict.plot import plot_timeline

        return [plot_timeline(prediction, path, top=answers.top)]

    def to_clips(video: Path, prediction: Prediction, path: Path, fps: float | None) -> list[Path]:
        return cut_spans(video, answers.timed_spans(prediction, "--cut"), path, fps=fps, copy=copy)

    if out is not None:
        check_writable(out)
    folder = out if out is not None and is_folder(out) else None
    products = [
        Product("written", plan_outputs(videos, folder, ending=f".{format}"), to_format),
        Product("rendered", plan_outputs(videos, render, ending=".mp4"), to_video),
        Product("plotted", plan_outputs(videos, plot, ending=".png"), to_picture),
        Product("cut", plan_outputs(videos, cut, ending=""), to_clips),
    ]
    return [product for product in products if product.paths]
